"""Leaderboards: one model (`board`), made from job states (`build`), written in several formats. Needs no torch."""
