"""Costs counted without weights and data are those of the published tables and of jobs that were really run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from methods import registry
from methods.api import Adaptation, BackboneFacts, Domain, Method, MethodError, MissingArtifact, Need, TrainingData
from methods.gps import GPS
from methods.params import resolve_params
from storage.records import ArtifactKey, MethodCall, Phase, Recipe, frozen
from workers.backbone_facts import facts_at, table
from workers.costs import Costs, costs_of
from workers.errors import Unsupported

PLAIN = (197,) * 12
HIGH = (157, 123, 93, 69, 51, 37, 27, 19, 15, 11, 8, 5)
LOW = (181, 165, 149, 133, 117, 101, 85, 69, 53, 37, 21, 11)
DISTILLED_LOW = (182, 166, 150, 134, 118, 102, 92, 82, 72, 62, 52, 42)
DISTILLED_HIGH = tuple(tokens + 1 for tokens in HIGH)
LARGE_LOW = (*range(189, 6, -8), 7)
LARGE_HIGH = (177, 158, 140, 123, 108, 95, 82, 70, 60, 51, 43, 37, 31, 27, 23, 19, 16, 13, 11, 9, 8, 7, 6, 5)
VIT_B, VIT_S, VIT_L = (f"vit_{size}_patch16_224" for size in ("base", "small", "large"))
DEIT_B = "deit_base_distilled_patch16_224"


def costs(backbone: str, stack: Mapping[str, Mapping[str, object]], recipe: Recipe | None = None) -> Costs:
    """Of a stack on a shipped backbone with 100 classes, hyper-parameters settled as a plan settles them."""
    facts, calls = table()[backbone].facts, []
    for name, given in stack.items():
        method = registry.facts(name)
        calls.append(MethodCall(name, method.revision, method.settled(resolve_params(method, given)[0], facts)))
    return costs_of(facts, calls, 100, recipe or Recipe())


def released(rate: str, rank: int = 8) -> dict[str, dict[str, object]]:
    return {"lora": {"rank": rank}, "pyra": {"merge_rate": rate, "preset": "release"}}


@pytest.mark.parametrize(
    ("backbone", "stack", "trained", "macs", "left"),
    [
        (VIT_B, {"lora": {"rank": 8}}, 294_912, 17_640_146_688, PLAIN),
        (VIT_S, {"lora": {"rank": 4}}, 73_728, 4_622_517_120, PLAIN),
        (VIT_B, {"lora": {"rank": 8}, "tome": {"merge_rate": "low"}}, 294_912, 8_815_507_712, LOW),
        (VIT_B, {"lora": {"rank": 8}, "tome": {"merge_rate": "high"}}, 294_912, 5_098_149_376, HIGH),
        (VIT_B, released("low"), 294_912 + 27_834, 8_816_507_648, LOW),
        (VIT_B, released("high"), 294_912 + 27_840, 5_099_181_568, HIGH),
        (DEIT_B, {"lora": {"rank": 8}}, 294_912, 17_732_829_696, (198,) * 12),
        (DEIT_B, released("low"), 294_912 + 27_804, 9_702_707_264, DISTILLED_LOW),
        (DEIT_B, released("high"), 294_912 + 27_840, 5_187_107_648, DISTILLED_HIGH),
        pytest.param(VIT_L, {"lora": {"rank": 12}}, 1_179_648, 61_835_604_992, (197,) * 24, marks=pytest.mark.slow),
        pytest.param(VIT_L, released("low", 12), 1_253_566, 31_117_483_008, LARGE_LOW, marks=pytest.mark.slow),
        pytest.param(VIT_L, released("high", 12), 1_253_568, 18_007_603_072, LARGE_HIGH, marks=pytest.mark.slow),
    ],
)
def test_counts_are_those_of_pyra_s_release_under_fvcore(backbone, stack, trained, macs, left):
    found = costs(backbone, stack)
    assert (found.trainable_params, found.macs, found.tokens) == (trained, macs, left)


def test_merged_lora_on_vit_b_costs_the_plain_backbone_and_its_head():
    found = costs(VIT_B, {"lora": {"rank": 8}})
    assert found.head_params == 769 * 100
    assert found.macs_merged == 17_581_972_224 + 768 * 100
    assert found.checkpoint_bytes == 4 * (294_912 + 76_900)
    assert found.optimizer_state_bytes == 2 * 4 * (294_912 + 76_900) + 4 * (2 * 12 + 2)


def test_bitfit_on_vit_b_trains_102912_values_and_adds_no_products():
    found = costs(VIT_B, {"bitfit": {}})
    assert found.trainable_params == 102_912
    assert found.macs == found.macs_merged == 17_581_972_224 + 768 * 100


@pytest.mark.parametrize("k", [1, 5])
def test_gps_on_vit_b_trains_83712_times_k_plus_one_values_and_adds_no_products(k):
    found = costs(VIT_B, {"gps": {"connections_per_neuron": k}}, Recipe(optimizer="adam"))
    assert found.trainable_params == 83_712 * (k + 1)
    assert found.macs == found.macs_merged == 17_581_972_224 + 768 * 100
    carried = 2 * 83_712 * k  # int16 columns
    assert found.checkpoint_bytes == 4 * (83_712 * (k + 1) + 76_900) + carried


@pytest.mark.parametrize("criterion", ["gradient", "magnitude"])
@pytest.mark.parametrize("level", ["neuron", "layer", "net"])
def test_gps_counts_alike_at_every_level_and_spares_the_excluded_blocks(level, criterion):
    given = {"level": level, "criterion": criterion, "connections_per_neuron": 7}
    rows_of_a_block = 9 * 96
    rows = 6 * rows_of_a_block + 96
    assert costs("nano_vit", {"gps": given}).trainable_params == 8 * rows
    spared = costs("nano_vit", {"gps": {**given, "exclude_blocks": [0, 1, 2]}})
    assert spared.trainable_params == 8 * (rows - 3 * rows_of_a_block)


@pytest.mark.parametrize("backbone", ["swin_tiny_patch4_window7_224", "convnext_tiny", "raw_pixels"])
def test_what_has_no_sequence_of_tokens_says_none(backbone):
    assert costs(backbone, {"linear": {}}).tokens is None


def test_another_input_size_is_counted_at_that_size():
    plain = table()["nano_vit"].facts
    found = costs_of(facts_at(plain, 64), [MethodCall("linear", 1)], 100, Recipe())
    assert found.tokens == (1 + 16 * 16,) * 6
    assert found.macs > 4 * costs("nano_vit", {"linear": {}}).macs


def job_and_result(name, a_job, run):
    """A finished real job of the method with all its hyper-parameters, its shared artifacts made before."""
    job = a_job(name)
    params, _ = resolve_params(registry.facts(name), {})
    params = registry.facts(name).settled(params, table()["nano_vit"].facts)
    optimizer = registry.facts(name).recipe["optimizer"]
    call, recipe = replace(job.methods[0], params=params), replace(job.recipe, optimizer=optimizer)
    job = replace(job, methods=(call,), recipe=recipe)
    keys = tuple(
        ArtifactKey(kind, frozen(dict(deciding))) for kind, deciding in registry.facts(name).needs_for(call.params)
    )
    for key in keys:
        assert run(replace(job, phase=Phase.PREPARE, makes=key, score_split="")).failure is None
    result = run(replace(job, needs=keys))
    assert result.failure is None, result.failure
    return job, result


@pytest.mark.parametrize("name", ["linear", "full", "lora", "gps", "bitfit"])
def test_a_job_that_was_run_cost_what_was_counted(name, a_job, run, site):
    job, result = job_and_result(name, a_job, run)
    found = costs_of(table()["nano_vit"].facts, job.methods, job.dataset.classes, job.recipe)
    for metric in ("trainable_params", "head_params", "macs", "optimizer_state_bytes"):
        assert getattr(found, metric) == result.metrics[metric], metric
    delta = load_file(site.home / result.files["delta"])
    assert found.checkpoint_bytes == sum(value.numel() * value.element_size() for value in delta.values())


def test_counting_leaves_torch_as_it_was():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    costs("nano_vit", {"lora": {}})
    assert torch.equal(torch.rand(2), expected)
    assert torch.empty(0).device.type == "cpu"
    assert not torch.__future__.get_swap_module_params_on_conversion()


def test_every_reason_why_a_backbone_cannot_be_adapted_is_given():
    calls = [MethodCall("lora", 1, (("rank", 97),)), MethodCall("partial", 1, (("blocks", 7),))]
    with pytest.raises(Unsupported, match=r"rank is 97.*; .*blocks is 7; nano_vit has 6 blocks"):
        costs_of(table()["nano_vit"].facts, calls, 10, Recipe())


@dataclass(frozen=True)
class Scored:
    """A method from outside: its modules are made on the CPU and moved, and its needs have no stand-in."""

    name: ClassVar[str] = "scored"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "adds one layer in front of the head"
    paper: ClassVar[str] = ""
    seams: ClassVar[frozenset[str]] = frozenset()
    families: ClassVar[tuple[str, ...]] = ("*",)
    space: ClassVar[Mapping[str, Domain]] = {}
    recipe: ClassVar[Mapping[str, object]] = {}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    needs: ClassVar[tuple[Need, ...]] = (Need("ranking", (), {"reads": ("scores",)}),)

    reads: str = "nothing"

    def refuses(self, facts: BackboneFacts) -> str | None:
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        if self.reads == "scores":
            data.artifact("ranking")
        if self.reads == "images":
            next(data.batches(2))
        added = nn.Linear(96, 96, bias=False)
        kept = tuple(added.parameters())
        model.norm = nn.Sequential(model.norm, added.to(next(model.parameters()).device))
        return Adaptation(trainable=tuple(name for name, value in model.named_parameters() if value is kept[0]))

    def merge(self, model: nn.Module) -> nn.Module:
        return model


def scored(reads: str) -> MethodCall:
    return MethodCall(f"{__name__}:Scored", 1, (("reads", reads),))


def test_parameters_that_a_method_made_before_it_moved_them_are_counted():
    assert costs_of(table()["nano_vit"].facts, [scored("nothing")], 10, Recipe()).trainable_params == 96 * 96


def test_a_need_without_a_stand_in_and_a_look_at_images_are_refused_with_the_reason():
    facts = table()["nano_vit"].facts
    with pytest.raises(MissingArtifact, match="'ranking' needs data"):
        costs_of(facts, [scored("scores")], 10, Recipe())
    with pytest.raises(Unsupported, match="reads images while it is prepared"):
        costs_of(facts, [scored("images")], 10, Recipe())


def test_gps_stands_in_for_its_own_scores_only():
    method: Method = GPS()
    with pytest.raises(MethodError, match="gps makes 'gps_scores', not 'ranking'"):
        GPS().stand_in("ranking", nn.Linear(2, 2))
    assert isinstance(method.stand_in("gps_scores", classifier())["neuron/0.weight"], Tensor)


def classifier() -> nn.Module:
    """Two layers, the second of which is the head."""

    class Classifier(nn.Sequential):
        def get_classifier(self) -> nn.Module:
            return self[1]

    return Classifier(nn.Linear(3, 4), nn.Linear(4, 2))
