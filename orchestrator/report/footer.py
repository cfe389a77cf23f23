"""What stands under every board: where its numbers come from, and how to get them again."""

from __future__ import annotations

from orchestrator.report.board import MCE, SCORE_WORDS, Leaderboard, Protocol, Section, score_metric
from orchestrator.report.measured import speed_lines
from orchestrator.report.table import one_line, shared_recipe_in_use
from storage.records import SEGMENTATION, Status

_SELECTION = {
    "honest": "last epoch, test read once",
    "paper": "last epoch, but test read during training",
}

_DICE = "Dice of the foreground per image, then the mean over images; an image without foreground in both has 100."


_OF_1000 = ("vtab1k", "embedded")
"""Suites whose splits have the sizes in their names; elsewhere these are the names of roles."""

_ROLES = {"train800val200": "train+val", "train800": "train", "val200": "val"}

_OWN = "each task's own training images"


def section_title(section: Section) -> str:
    """One line: suite, what the cells are, how they were measured."""
    score = f"test {SCORE_WORDS[section.task]} (%), mean±std over {_seeds(section)}"
    return f"{section.suite}: {score}; {protocol_words(section.protocol, section.suite)}"


def protocol_words(protocol: Protocol, suite: str) -> str:
    """The protocol of a suite's section as a reader says it."""
    selection = _SELECTION.get(protocol.selection, f"selection {protocol.selection}")
    source = protocol.trained_on or suite
    own_name, _, shots = source.partition("/")[0].partition("@")
    names = {} if own_name in _OF_1000 else _ROLES
    if shots:
        names = {**names, "train800val200": "the shots alone", "train800": "the shots alone"}
    train, score = (names.get(split, split) for split in (protocol.train_split, protocol.score_split))
    train = f"{protocol.trained_on} {train}" if protocol.trained_on else train
    return f"{selection}, {train} -> {score}, {protocol.precision}, resize {protocol.resize}"


def section_lines(section: Section) -> list[str]:
    """What a reader must know of this section: ranking, what parts it from its neighbours, recipe, notes."""
    lines = [f"Ranked by {section.averages[-1][1]}; a row with anything missing has no average and no rank."]
    lines += [_DICE] if section.task == SEGMENTATION else []
    for name, others in section.differs:
        here = getattr(section.protocol, name) or _OWN
        there = _or(tuple(other or _OWN for other in others))
        lines.append(f"Not comparable with the other tables of {section.suite}: {name} is {here} here, {there} there.")
    lines.append(f"Recipe of all rows (what is not named differs by row or is off): {shared_recipe_in_use(section)}")
    if section.protocol.trained_on:
        lines.append(
            f"Trained on {section.protocol.trained_on}: every cell is a model of that set, not trained again, on the "
            "classes that the task has."
        )
    if any(MCE in row.metric_means for row in section.rows):
        lines.append(
            "mCE: mean corruption error on ImageNet-C, each corruption's error divided by AlexNet's; lower is better"
        )
    lines += [one_line(line) for line in speed_lines([(row.title, row.measured) for row in section.rows])]
    return lines + [one_line(note) for note in section.notes]


def board_lines(board: Leaderboard) -> list[str]:
    """Sweep, results, what is missing, seeds, devices, versions, the command."""
    lines = [f"Sweep: {', '.join(one_line(name) for name in board.sweeps)}"] if board.sweeps else []
    lines.append(f"Results: {coverage(board)}; seeds {', '.join(str(seed) for seed in board.seeds)}")
    timed = (
        ", wall_s (jobs as they ran, without their shared prepare jobs; no speed measurement)"
        if "wall_s" in board.metrics
        else ""
    )
    lines.append(f"Means over a row's results: params (without head), head, MACs{timed}")
    if board.devices:
        lines.append(f"Devices: {', '.join(one_line(name) for name in board.devices)}")
    if board.versions:
        lines.append(f"Versions: {', '.join(f'{name} {one_line(version)}' for name, version in board.versions)}")
    return [*lines, f"Made by: {one_line(board.command)}"] if board.command else lines


def coverage(board: Leaderboard) -> str:
    """ "28 of 30 jobs done (1 failed, 1 pending)"; tasks that a row lacks count as never planned."""
    other = {status: count for status, count in board.counts.items() if status is not Status.DONE}
    reasons = [f"{other[status]} {status.value}" for status in Status if status in other]
    planned = sum(board.counts.values())
    scoreless = board.counts.get(Status.DONE, 0) - board.done
    scores = dict.fromkeys(score_metric(section.task) for section in board.sections)
    reasons += [f"{scoreless} done without {' or '.join(scores)}"] if scoreless else []
    reasons += [f"{board.expected - planned} never planned"] if board.expected > planned else []
    return f"{board.done} of {board.expected} jobs done" + (f" ({', '.join(reasons)})" if reasons else "")


def _seeds(section: Section) -> str:
    return f"{section.seeds} seeds" if section.seeds > 1 else "1 seed (no std)"


def _or(values: tuple[str, ...]) -> str:
    return " or ".join(values)
