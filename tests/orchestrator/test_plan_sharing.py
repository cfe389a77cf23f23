"""Plans: shared artifacts, refused combinations, and what is missing on this machine."""

from dataclasses import replace
from pathlib import Path

from orchestrator.catalogue import Catalogue
from orchestrator.plan import Plan, plan
from orchestrator.spec import parse_spec
from orchestrator.testing import shipped_catalogue
from storage.records import Job
from workers.errors import DataMissing


def planned(text: str, catalogue: Catalogue | None = None) -> Plan:
    return plan(parse_spec(text), catalogue or shipped_catalogue())


def spec(methods: str, more: str = "", *, datasets: str = "[embedded/digits]", backbones: str = "[nano_vit]") -> str:
    return f"name: x\ndatasets: {datasets}\nbackbones: {backbones}\nmethods: {methods}\n{more}\n"


def jobs(made: Plan) -> list[Job]:
    """The jobs without the prepare jobs, in order."""
    return [entry.job for entry in made.entries if entry.job.makes is None]


def test_one_prepare_job_serves_every_job_that_needs_its_artifact() -> None:
    made = planned(spec("[bitfit, {gps: {connections_per_neuron: [1, 3, 5]}}]", "seeds: 2\ntrain: {epochs: [5, 8]}"))
    prepare = [entry.job for entry in made.entries if entry.job.makes]
    assert made.counts.prepare == len(prepare) == 2
    assert [job.seed for job in prepare] == [0, 1]
    made_keys = {job.makes for job in prepare}
    assert {key for job in jobs(made) for key in job.needs} == made_keys
    assert all((len(job.needs) == 1) == (job.stack == "gps") for job in jobs(made))


def test_features_of_each_split_are_made_once_for_every_seed_and_training_value() -> None:
    made = planned(spec("[linear, lora]", "seeds: 3\ntrain: {lr: [1e-3, 1e-2], weight_decay: [0, 1e-4]}"))
    prepare = [entry.job for entry in made.entries if entry.job.makes]
    assert [(job.train_split, job.score_split, job.methods, job.seed) for job in prepare] == [
        ("train800val200", "", (), 0),
        ("test", "", (), 0),
    ]
    probes = [job for job in jobs(made) if job.stack == "linear"]
    assert len(probes) == 12
    assert {job.needs for job in probes} == {tuple(job.makes for job in prepare)}
    assert not any(job.needs for job in jobs(made) if job.stack == "lora")


def test_features_differ_where_what_the_backbone_sees_differs() -> None:
    base = spec("[linear]")
    changed = [
        spec("[linear]", "phase: search"),
        spec("[linear]", "train: {precision: bf16}"),
        spec("[linear]", "train: {image_size: 64}"),
        spec("[linear]", datasets="[embedded/count]"),
        spec("[linear]", backbones="[pico_vit]"),
        spec("[linear]", backbones="[{name: nano_vit, std: [0.2, 0.2, 0.2]}]"),
    ]
    keys = [jobs(planned(text))[0].needs for text in (base, *changed)]
    assert len(set(keys)) == len(keys)
    assert [{dict(key.inputs)["split"] for key in needs} for needs in keys[:2]] == [
        {"train800val200", "test"},
        {"train800", "val200"},
    ]


def test_every_seed_has_its_own_features_where_weights_are_drawn() -> None:
    made = planned(spec("[linear]", "seeds: 2", backbones="[{name: nano_vit, weights: random}]"))
    assert made.counts.prepare == 4
    assert [job.seed for job in (entry.job for entry in made.entries) if job.makes] == [0, 0, 1, 1]


def test_no_features_are_planned_where_images_change_or_something_else_learns_or_pixels_are_the_features() -> None:
    assert planned(spec("[{linear: {train: {augment: flip}}}]")).counts.prepare == 0
    assert planned(spec("[{linear: {train: {mixup_alpha: 0.8}}}]")).counts.prepare == 0
    assert planned(spec("[[linear, lora], [linear, tome]]")).counts.prepare == 0
    assert planned(spec("[linear]", backbones="[raw_pixels]")).counts.prepare == 0


def test_a_prepare_job_comes_before_the_jobs_that_need_it() -> None:
    exists = set()
    for entry in planned(spec("[gps]", "seeds: 3", datasets='["@embedded/*"]')).entries:
        assert set(entry.job.needs) <= exists
        exists |= {entry.job.makes} - {None}


def test_artifacts_differ_where_what_they_are_made_from_differs() -> None:
    base = spec("[gps]")
    changed = [
        spec("[{gps: {temperature: 0.1}}]"),
        spec("[gps]", "seeds: [1]"),
        spec("[gps]", "phase: search"),
        spec("[gps]", "train: {precision: bf16}"),
        spec("[gps]", datasets="[embedded/count]"),
        spec("[gps]", backbones="[{name: nano_vit, weights: random}]"),
        spec("[gps]", backbones="[vit_tiny_patch16_224]"),
    ]
    keys = [jobs(planned(text))[0].needs[0].key_id for text in (base, *changed)]
    assert len(set(keys)) == len(keys)
    unchanged = [spec("[{gps: {connections_per_neuron: 5}}]"), spec("[gps]", "train: {epochs: 3, lr: 0.5}")]
    assert {jobs(planned(text))[0].needs[0].key_id for text in unchanged} == {keys[0]}


def test_no_artifact_is_planned_where_the_criterion_needs_none() -> None:
    assert planned(spec("[{gps: {criterion: [magnitude, random]}}]")).counts.prepare == 0


def test_refused_combinations_are_listed_with_their_reason() -> None:
    made = planned(spec("[linear, [gps, lora]]", "seeds: 2", backbones="[nano_vit, raw_pixels]"))
    reasons = {(one.row, one.backbone): (one.jobs, one.reason) for one in made.refused}
    assert reasons["gps+lora", "nano_vit"][0] == 2
    assert "both take hold of the seam 'linear'" in reasons["gps+lora", "nano_vit"][1]
    assert (made.counts.refused, made.counts.jobs) == (4, 4)


def test_a_method_that_cannot_adapt_a_backbone_is_refused_by_family() -> None:
    made = planned(spec("[linear, gps]", backbones="[nano_vit, raw_pixels]"))
    (refusal,) = made.refused
    assert (refusal.row, refusal.backbone) == ("gps", "raw_pixels")
    assert "family 'pixels'" in refusal.reason


def test_a_plan_without_weights_or_data_still_counts_and_says_what_is_missing() -> None:
    text = spec("[bitfit, gps]", "seeds: 2", datasets='["@embedded/*"]', backbones="[nano_vit, pico_vit]")
    made = planned(text, shipped_catalogue(missing_weights=["pico_vit"]))
    whole = planned(text)
    assert (made.counts.jobs, made.counts.prepare) == (whole.counts.jobs, whole.counts.prepare) == (24, 12)
    assert len(made.entries) == len(made.unresolved) == 18
    assert {entry.job.backbone.name for entry in made.unresolved} == {"pico_vit"}
    assert made.missing == ("weights of pico_vit are missing; write weights: path/to/file.safetensors",)
    assert [entry.order for entry in sorted([*made.entries, *made.unresolved], key=lambda one: one.order)] == list(
        range(36)
    )


def test_missing_data_are_listed_once_and_stop_nothing() -> None:
    def absent(name: str) -> str:
        raise DataMissing(f"data set {name!r} is missing")

    catalogue = replace(shipped_catalogue(), data_hash=absent)
    made = planned(spec("[bitfit, full]", "seeds: 2"), catalogue)
    assert (made.entries, len(made.unresolved)) == ((), 4)
    assert made.missing == ("data set 'embedded/digits' is missing",)


def test_a_weights_path_starts_at_the_specs_folder(tmp_path: Path) -> None:
    asked: list[str | None] = []

    def reference(name: str, weights: str | None):
        asked.append(weights)
        return shipped_catalogue().backbone_ref(name, weights)

    text = spec("[linear]", backbones="[{name: nano_vit, weights: ./mine.safetensors}]")
    made = plan(parse_spec(text, "s.yaml", tmp_path), replace(shipped_catalogue(), backbone_ref=reference))
    assert asked == [str(tmp_path / "mine.safetensors")]
    assert list(made.weights.values()) == [tmp_path / "mine.safetensors"]
    assert list(made.weights) == [jobs(made)[0].backbone.weights_hash]
