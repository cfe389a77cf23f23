"""MethodContract: what every method promises, as tests. To prove your method, subclass it:

    class TestMyMethod(MethodContract):
        method = MyMethod()
        trained_params = 2 * 8 * 16          # closed form on tiny_vit(), without the head

It needs pytest and a second or so. `TinyData` and `tiny_vit` are here for other tests too.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from methods.api import Adaptation, MakesArtifacts, Method, MethodError, MissingArtifact
from methods.facts import facts_of
from methods.params import resolve_params
from methods.stack import merge_stack, prepare_stack
from methods.surgery import head_parameters, names_of

Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

DECAYING: Mapping[str, Optimizer] = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.05),
    "sgd_momentum": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, weight_decay=0.05),
    "adam_l2": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, weight_decay=0.05),
}
"""Optimizers whose decay or momentum moves a weight that is held back by its gradient alone."""


def tiny_vit(**changes: Any) -> VisionTransformer:
    """A ViT with LayerScale: 16-pixel images, patch 4, width 16, 2 blocks, 2 heads, 5 classes; the same each time.

    All values are drawn wide (standard deviation 0.2 around the usual ones), biases and scales too, so that a part
    that stays out of the function is seen to.
    """
    size = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = VisionTransformer(**{**size, "init_values": 0.5, **changes})
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.2)
    return model.eval()


@dataclass
class TinyData:
    """A TrainingData of random images. `artifacts`: kind -> tensors. With `closed`, asking for images is an error."""

    seed: int = 0
    images: int = 24
    image_size: int = 16
    classes: int = 5
    artifacts: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    closed: bool = False

    def __post_init__(self) -> None:
        self.generator = Generator().manual_seed(self.seed)
        source = Generator().manual_seed(self.seed + 1)
        self._x = torch.randn(self.images, 3, self.image_size, self.image_size, generator=source)
        self._y = torch.randint(self.classes, (self.images,), generator=source)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled by the generator, last partial batch dropped: (B, 3, H, W) and (B,)."""
        if self.closed:
            raise MethodError("this data is closed: a delta must be enough to repeat prepare()")
        order = torch.randperm(self.images, generator=self.generator)
        for start in range(0, self.images - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield self._x[chosen], self._y[chosen]

    def two_view_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The views differ by noise: (B, 2, 3, H, W) and (B,)."""
        for images, labels in self.batches(batch_size):
            views = images[:, None].expand(-1, 2, -1, -1, -1)
            yield views + 0.3 * torch.randn(views.shape, generator=self.generator), labels

    def artifact(self, kind: str) -> Mapping[str, Tensor]:
        if kind not in self.artifacts:
            raise MissingArtifact(f"no artifact {kind!r} was handed to this data")
        return self.artifacts[kind]


class Run:
    """One adapted tiny model in training: what the trainer does, in small."""

    def __init__(self, method: Method, data: TinyData, optimizer: str = "adamw") -> None:
        self.method, self.data = method, data
        self.model: nn.Module = tiny_vit()
        self.adaptation: Adaptation = prepare_stack([method], self.model, data)
        parameters = dict(self.model.named_parameters())
        self.trained = [parameters[name] for name in self.adaptation.trainable]
        self.optimizer = DECAYING[optimizer]([*self.trained, *head_parameters(self.model)])
        self.steps = 0

    def step(self) -> None:
        """One optimizer step on a batch of eight, in train mode; what layers draw (dropout) has the step's seed."""
        images, labels = next(self.data.batches(8))
        self.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.steps)
            loss = F.cross_entropy(self.model(images), labels)
        if self.adaptation.extra_loss is not None:
            loss = loss + self.adaptation.extra_loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        if self.adaptation.after_step is not None:
            self.adaptation.after_step(self.steps)

    def delta(self) -> dict[str, Tensor]:
        """What was trained, the head included."""
        names = (*self.adaptation.trainable, *names_of(self.model, head_parameters(self.model)))
        return {name: self.model.get_parameter(name).detach().clone() for name in names}


@torch.no_grad()
def outputs(model: nn.Module) -> Tensor:
    """Logits of eight fixed images, (8, classes), in evaluation mode."""
    images = torch.randn(8, 3, 16, 16, generator=Generator().manual_seed(7))
    logits: Tensor = model.eval()(images)
    return logits


class MethodContract:
    """The promises. `identity_at_start`: the adapted model begins as the plain one."""

    method: ClassVar[Method]
    trained_params: ClassVar[int]
    identity_at_start: ClassVar[bool] = True

    def untouched(self, model: nn.Module, adaptation: Adaptation) -> dict[str, Tensor]:
        """What must not move, by name. Override where a tensor is trained in part."""
        moving = {*adaptation.trainable, *names_of(model, head_parameters(model))}
        return {name: value.clone() for name, value in model.state_dict().items() if name not in moving}

    def data(self, seed: int = 0) -> TinyData:
        """Training data that holds every artifact the method needs."""
        data = TinyData(seed)
        facts = facts_of(type(self.method))
        given = {item.name: getattr(self.method, item.name) for item in fields(self.method)}  # type: ignore[arg-type]
        resolved, problems = resolve_params(facts, given)
        assert not problems
        made = {}
        for kind, _ in facts.needs_for(resolved):
            assert isinstance(self.method, MakesArtifacts)
            made[kind] = self.method.make_artifact(kind, tiny_vit(), data)
        return TinyData(seed, artifacts=made)

    def run(self, steps: int = 3, seed: int = 0, optimizer: str = "adamw") -> Run:
        """A run after so many steps."""
        run = Run(self.method, self.data(seed), optimizer)
        for _ in range(steps):
            run.step()
        return run

    @pytest.mark.parametrize("optimizer", DECAYING)
    def test_only_what_is_declared_moves(self, optimizer: str) -> None:
        run = self.run(0, optimizer=optimizer)
        before = self.untouched(run.model, run.adaptation)
        for _ in range(3):
            run.step()
        outputs(run.model)
        after = self.untouched(run.model, run.adaptation)
        assert before.keys() == after.keys()
        assert [name for name in before if not torch.equal(before[name], after[name])] == []

    def test_all_that_is_declared_moves(self) -> None:
        run = self.run(0)
        before = run.delta()
        for _ in range(3):
            run.step()
        still = [name for name, value in run.delta().items() if (value != before[name]).float().mean() <= 0.5]
        assert still == []

    def test_nothing_else_asks_for_gradients(self) -> None:
        run = self.run(0)
        head = names_of(run.model, head_parameters(run.model))
        asking = {name for name, parameter in run.model.named_parameters() if parameter.requires_grad}
        assert asking - set(head) == set(run.adaptation.trainable)

    def test_the_parameter_count_is_the_closed_form(self) -> None:
        assert sum(parameter.numel() for parameter in self.run(0).trained) == self.trained_params

    def test_it_starts_as_the_plain_model_where_it_says_so(self) -> None:
        same = torch.allclose(outputs(self.run(0).model), outputs(tiny_vit()), atol=1e-6)
        assert same == self.identity_at_start

    def test_training_changes_the_function(self) -> None:
        assert not torch.allclose(outputs(self.run().model), outputs(self.run(0).model), atol=1e-3)

    def test_merging_keeps_the_function(self) -> None:
        model = self.run().model
        before = outputs(model)
        assert torch.allclose(outputs(merge_stack([self.method], model)), before, atol=1e-5)

    @pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
    def test_a_copy_gives_the_same_output(self, clone: Callable[[nn.Module], nn.Module]) -> None:
        model = self.run().model
        assert torch.equal(outputs(clone(model)), outputs(model))

    def test_two_runs_in_one_process_never_meet(self) -> None:
        alone = outputs(self.run().model)
        one, other = self.run(0), self.run(0, seed=5)
        for _ in range(3):
            other.step()
            one.step()
        assert torch.equal(outputs(one.model), alone)

    def test_a_fresh_model_becomes_the_trained_one_from_its_delta_alone(self) -> None:
        trained = self.run()
        fresh = Run(self.method, TinyData(seed=9, artifacts=trained.adaptation.carried, closed=True))
        assert fresh.adaptation.trainable == trained.adaptation.trainable
        with torch.no_grad():
            for name, value in trained.delta().items():
                fresh.model.get_parameter(name).copy_(value)
        assert torch.equal(outputs(fresh.model), outputs(trained.model))
