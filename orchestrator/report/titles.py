"""Names that tell things apart: rows of one label, backbones of one name."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

from orchestrator.report.board import Row
from storage.records import BackboneRef, Value, thawed

Input = tuple[BackboneRef, int | None]
"""What a backbone really is on the board: the reference and the image size in pixels."""

_SHOWN_HASH = 8
_FORCED = "mean/std forced"
_SAID_APART = ("name", "forced")


def distinct_titles(rows: Sequence[tuple[Row, tuple[tuple[str, Value], ...]]]) -> list[Row]:
    """The rows; those that share title and backbone get what they differ in behind their title.

    With each row come the recipe fields that part it from its siblings.

    Two rows "gps" become "gps (connections_per_neuron=1)" and "gps (connections_per_neuron=2)". A list is not shown
    where the other values tell the rows apart: most are long, and follow from them (tokens removed per block).
    """
    homonyms: dict[tuple[str, str], list[tuple[Row, dict[str, Value]]]] = defaultdict(list)
    for row, axes in rows:
        homonyms[row.title, row.backbone.label].append((row, _settings(row, axes)))
    titled: list[Row] = []
    for (title, _), members in homonyms.items():
        differing = _telling([settings for _, settings in members])
        for row, settings in members:
            said = [f"{name}={value_text(settings[name])}" for name in differing if name in settings]
            titled.append(replace(row, title=f"{title} ({', '.join(said)})") if said else row)
    return titled


def _settings(row: Row, axes: tuple[tuple[str, Value], ...]) -> dict[str, Value]:
    settings: dict[str, Value] = {"stack": row.stack}
    for call in row.methods:
        owner = f"{call.name}." if len(row.methods) > 1 else ""
        settings |= {f"{owner}{name}": value for name, value in (*call.params, ("revision", call.revision))}
    settings |= {f"train.{name}": value for name, value in axes}
    return settings | {"trainer_revision": row.trainer_revision, "schema": row.states[0].job.schema}


def backbone_labels(inputs: Iterable[Input]) -> dict[Input, str]:
    """The name alone where it means one thing, else the name with what tells it apart from its homonyms."""
    labels: dict[Input, str] = {}
    for name, homonyms in _by_name(inputs).items():
        facts = {one: _facts(one) for one in homonyms}
        differing = _differing(list(facts.values()))
        for one in homonyms:
            said = [f"{field} {value_text(facts[one][field])}" for field in differing]
            said += [_FORCED] if one[0].forced else []
            labels[one] = f"{name} ({', '.join(said)})" if said else name
    return labels


def backbone_notes(inputs: Iterable[Input]) -> tuple[str, ...]:
    """One sentence per backbone name that means more than one thing, and per mean and std that a spec has forced."""
    notes = []
    for name, homonyms in _by_name(inputs).items():
        fields_said = ", ".join(_differing([_facts(one) for one in homonyms]))
        if len(homonyms) > 1:
            notes.append(f"{name} names {len(homonyms)} backbones: they differ in {fields_said} and are listed apart.")
        for ref in dict.fromkeys(ref for ref, _ in homonyms if ref.forced):
            given = f"mean {value_text(ref.mean)}, std {value_text(ref.std)}"
            notes.append(f"{name} is fed with {given}, forced by the spec: not what the checkpoint was trained with.")
    return tuple(notes)


def value_text(value: Value) -> str:
    """A setting as a person writes it: text bare, lists in brackets, None as "none", numbers without losing a digit."""
    if isinstance(value, tuple):
        return f"[{', '.join(value_text(item) for item in value)}]"
    if value is None or isinstance(value, str):
        return value or "none"
    return json.dumps(thawed(value))


def _by_name(inputs: Iterable[Input]) -> dict[str, list[Input]]:
    names: dict[str, list[Input]] = defaultdict(list)
    for one in sorted(set(inputs), key=repr):
        names[one[0].name].append(one)
    return names


def _facts(one: Input) -> dict[str, Value]:
    ref, image_size = one
    facts: dict[str, Value] = {
        item.name: getattr(ref, item.name) for item in fields(ref) if item.name not in _SAID_APART
    }
    return facts | {"weights_hash": ref.weights_hash[:_SHOWN_HASH], "image_size": image_size}


def _telling(records: Sequence[Mapping[str, Value]]) -> list[str]:
    """Keys on which not all records agree, without those of lists as long as no two records become equal."""
    differing = _differing(records)
    short = [name for name in differing if not any(isinstance(record.get(name), tuple) for record in records)]
    parted = {tuple(record.get(name, "absent") for name in short) for record in records}
    return short if len(parted) == len(records) else differing


def _differing(records: Sequence[Mapping[str, Value]]) -> list[str]:
    """Keys on which not all records agree, in order of first appearance."""
    names = dict.fromkeys(name for record in records for name in record)
    return [name for name in names if len({record.get(name, "absent") for record in records}) > 1]
