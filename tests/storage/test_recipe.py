"""Recipes as records: what names a job, and what an older record may lack."""

import json

from storage.records import Recipe


def test_a_field_that_came_later_changes_no_job_that_does_without_it():
    assert "cooldown_epochs" not in json.loads(Recipe().canonical)
    assert json.loads(Recipe(cooldown_epochs=10).canonical)["cooldown_epochs"] == 10
    assert Recipe(**json.loads(Recipe(epochs=3).canonical)) == Recipe(epochs=3), "a record of before can be read"


def test_the_cooldown_counts_as_training_but_not_in_the_schedule():
    release = Recipe(epochs=100, cooldown_epochs=10)
    assert (release.total_epochs, release.epochs) == (110, 100)
    assert release.of_cost(32) == Recipe().of_cost(32), "one measurement serves both"


def test_a_cooldown_below_zero_is_refused_with_its_name():
    assert Recipe(cooldown_epochs=-1).problems() == [("cooldown_epochs", "is -1; expected 0 to 100000")]
