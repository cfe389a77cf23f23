"""The model of a job: backbone, fresh head, and what the methods made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from methods import registry
from methods.api import Adaptation, Method, TrainingData
from methods.stack import prepare_stack
from methods.surgery import freeze, head_parameters, names_of, thaw
from storage.records import Job
from workers.randomness import seeded


@dataclass(frozen=True)
class AdaptedModel:
    """`trained` and `head`: what moves, by full name; nothing else has a gradient. `total_params`: with head, before
    adaptation."""

    model: nn.Module
    methods: tuple[Method, ...]
    adaptation: Adaptation
    trained: Mapping[str, nn.Parameter]
    head: Mapping[str, nn.Parameter]
    total_params: int

    @property
    def moving(self) -> dict[str, nn.Parameter]:
        """Trained values and head."""
        return {**self.trained, **self.head}

    @property
    def undecayed(self) -> frozenset[str]:
        """Names that the model keeps out of weight decay (timm: position embeddings, tokens)."""
        listed = getattr(self.model, "no_weight_decay", None)
        return frozenset(listed()) if listed is not None else frozenset()


def job_methods(job: Job) -> tuple[Method, ...]:
    """The job's stack, left to right. Raises MethodError."""
    return tuple(registry.build(call.name, call.kwargs) for call in job.methods)


def adapt(model: nn.Module, job: Job, data: TrainingData) -> AdaptedModel:
    """Patch the model in place and let move what the methods declare, and the head. Raises MethodError."""
    with seeded(job.seed, "prepare"):
        return adapted_by(job_methods(job), model, data)


def adapted_by(methods: tuple[Method, ...], model: nn.Module, data: TrainingData) -> AdaptedModel:
    """As `adapt`, by methods without a job; what they draw besides the data's generator is torch's present state."""
    total_params = sum(parameter.numel() for parameter in model.parameters())
    freeze(model)
    adaptation = prepare_stack(methods, model, data)
    device = next(iter(head_parameters(model))).device
    model.to(device)  # what the methods added may have been made on the CPU
    parameters = dict(model.named_parameters())
    head_names = names_of(model, head_parameters(model))
    head = {name: parameters[name] for name in head_names}
    trained = {name: parameters[name] for name in adaptation.trainable if name not in head}
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    thaw([*trained.values(), *head.values()])
    return AdaptedModel(model, methods, adaptation, trained, head, total_params)
