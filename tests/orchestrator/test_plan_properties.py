"""Properties of every plan: what it depends on, and what it does not."""

from itertools import product
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan import Plan, plan
from orchestrator.spec import parse_spec
from orchestrator.testing import shipped_catalogue
from storage.records import Job, digest

CATALOGUE = shipped_catalogue()
DATASETS = ["embedded/digits", "embedded/location", "embedded/count"]
BACKBONES = ["nano_vit", "pico_vit", "vit_tiny_patch16_224"]

_subset = {"min_size": 1, "max_size": 3, "unique": True}
_lr = st.sampled_from([1e-3, 0.01, 1, 3e-4])
_methods = st.lists(
    st.one_of(
        st.sampled_from(["linear", "full", "lora", "gps"]),
        st.fixed_dictionaries(
            {"lora": st.fixed_dictionaries({"rank": st.lists(st.sampled_from([2, 4, 8]), **_subset), "scale": _lr})}
        ),
        st.fixed_dictionaries(
            {
                "gps": st.fixed_dictionaries(
                    {
                        "connections_per_neuron": st.lists(st.integers(1, 5), **_subset),
                        "level": st.lists(st.sampled_from(["neuron", "layer", "net"]), **_subset),
                    }
                )
            }
        ),
    ),
    min_size=1,
    max_size=4,
    unique_by=str,
)
specs = st.fixed_dictionaries(
    {
        "name": st.just("drawn"),
        "datasets": st.lists(st.sampled_from(DATASETS), **_subset),
        "backbones": st.lists(st.sampled_from(BACKBONES), **_subset),
        "methods": _methods,
        "seeds": st.one_of(st.integers(1, 3), st.lists(st.integers(0, 99), **_subset)),
        "train": st.fixed_dictionaries({"epochs": st.lists(st.integers(1, 9), **_subset), "weight_decay": _lr}),
    }
)


def planned(spec: dict[str, Any]) -> Plan:
    return plan(parse_spec(yaml.safe_dump(spec, sort_keys=False)), CATALOGUE)


def reversed_keys(value: Any) -> Any:
    """The same value with the keys of every mapping in the opposite order."""
    if isinstance(value, dict):
        return {key: reversed_keys(item) for key, item in reversed(value.items())}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def outline(made: Plan) -> list[tuple[str, str, int]]:
    return [(entry.job.job_id, entry.row, entry.order) for entry in made.entries]


@settings(max_examples=40, deadline=None)
@given(specs)
def test_the_order_of_keys_changes_nothing(spec: dict[str, Any]) -> None:
    assert outline(planned(spec)) == outline(planned(reversed_keys(spec)))


@settings(max_examples=40, deadline=None)
@given(specs)
def test_every_job_is_planned_once_and_the_counts_add_up(spec: dict[str, Any]) -> None:
    made = planned(spec)
    ids = [entry.job.job_id for entry in made.entries]
    assert len(ids) == len(set(ids)) == made.counts.jobs + made.counts.prepare
    counts = made.counts
    assert counts.product - counts.excluded + counts.included - counts.refused - counts.duplicates == counts.jobs
    variants = sum(_values(entry) for entry in spec["methods"]) * len(spec["train"]["epochs"])
    seeds = spec["seeds"] if isinstance(spec["seeds"], int) else len(spec["seeds"])
    assert counts.product == variants * len(spec["datasets"]) * len(spec["backbones"]) * seeds


def _values(entry: Any) -> int:
    """How many points the axes of one drawn method have."""
    if isinstance(entry, str):
        return 1
    lists = [value for value in next(iter(entry.values())).values() if isinstance(value, list)]
    return len(list(product(*lists)))


@settings(max_examples=40, deadline=None)
@given(specs)
def test_every_needed_artifact_is_made_once_and_before_it_is_needed(spec: dict[str, Any]) -> None:
    exists: set[str] = set()
    for entry in planned(spec).entries:
        assert {key.key_id for key in entry.job.needs} <= exists
        if entry.job.makes:
            assert entry.job.makes.key_id not in exists
            exists.add(entry.job.makes.key_id)


@settings(max_examples=40, deadline=None)
@given(specs)
def test_jobs_survive_json_and_are_named_by_it(spec: dict[str, Any]) -> None:
    for entry in planned(spec).entries[:20]:
        again = Job.from_json(entry.job.to_json())
        assert (again, again.job_id) == (entry.job, entry.job.job_id)
        assert digest(entry.job.to_json()) == entry.job.job_id


@settings(max_examples=40, deadline=None)
@given(specs, st.randoms(use_true_random=False))
def test_the_jobs_are_the_same_whatever_the_order_of_the_lists(spec: dict[str, Any], random: Any) -> None:
    mixed = {key: random.sample(value, len(value)) if isinstance(value, list) else value for key, value in spec.items()}
    first, second = ({entry.job.job_id for entry in planned(one).entries} for one in (spec, mixed))
    assert first == second


@settings(max_examples=40, deadline=None)
@given(specs)
def test_rows_of_different_content_have_different_names(spec: dict[str, Any]) -> None:
    content: dict[tuple[str, str], set[str]] = {}
    for entry in planned(spec).entries:
        if not entry.job.makes:
            what = "".join([*(call.canonical for call in entry.job.methods), entry.job.recipe.canonical])
            content.setdefault((entry.row, entry.job.backbone.name), set()).add(what)
    assert all(len(one) == 1 for one in content.values())
