"""What a method is: the interface that every file in this package, and every outsider, implements.

Importing this module loads no torch, so that plans can be made where only the base package is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

Scalar = bool | int | float | str | None

SEAMS = ("weights", "linear", "mlp", "attention", "block", "tokens")
"""What a method can take hold of; a stack has at most one owner per seam."""


class MethodError(Exception):
    """Base of all errors of this package.

    MethodError
    ├── UnknownMethod      no method of that name
    ├── RefusedStack       two owners of one seam, or a backbone the method cannot adapt
    └── MissingArtifact    prepare() needs something that no prepare job has made
    """


class UnknownMethod(MethodError):
    """No method of that name."""


class RefusedStack(MethodError):
    """The methods do not go together, or not with this backbone."""


class MissingArtifact(MethodError):
    """A shared artifact that the method needs was not handed to it."""


@dataclass(frozen=True)
class Domain:
    """What tuning may vary: `kind` is log, uniform, int or choice; `values` are [low, high] or the choices."""

    kind: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Need:
    """A shared artifact, declared: one prepare job makes it for every job that agrees on its inputs.

    Its key is made of the kind, the method's name and revision, the hyper-parameters named in `fields`, the
    backbone and its weights, the data and split, the precision and the seed. `when` restricts the need to
    hyper-parameter values, e.g. `{"criterion": ("gradient",)}`: the artifact is needed when every named field has
    one of the values.
    """

    kind: str
    fields: tuple[str, ...] = ()
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BackboneFacts:
    """What a plan must know of a backbone without building it. Lengths in values, sizes in pixels."""

    name: str
    family: str  # "vit", "swin", "convnext", "pixels" …
    image_size: int
    patch_size: int
    depth: int
    dim: int
    heads: int
    tokens: int  # at image_size, prefix tokens included
    prefix_tokens: int
    features: int  # width of the vector that the head reads
    params: int  # without head
    macs: int  # one image at image_size, without head
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0


@runtime_checkable
class KnowsTaskLoss(Protocol):
    """Training data of a task that has no classes say how outputs are judged against what `batches` gives."""

    def task_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss that training lowers, mean over the images of a batch: a scalar."""


class TrainingData(Protocol):
    """The training split, as a method may see it: never the split that is scored."""

    @property
    def classes(self) -> int: ...

    @property
    def generator(self) -> Generator:
        """A CPU generator derived from the job's seed; the same at each access in a fresh job."""

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass in shuffled order, last partial batch dropped: images (B, 3, H, W) normalised, labels (B,)."""

    def two_view_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `batches`, but two independently augmented views of each image: (B, 2, 3, H, W) and (B,)."""

    def artifact(self, kind: str) -> Mapping[str, Tensor]:
        """The shared artifact of that kind. Raises MissingArtifact."""


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What a method did to the model; the trainer believes only this.

    `trainable`: full names (as in `model.named_parameters()`) of what may move; the head is the trainer's own.
    `lr_factor`: factor on the base learning rate by full name (1 where absent).
    `carried`: artifact kind -> tensors that a delta checkpoint must carry so that `prepare` can be repeated
    from the delta alone (GPS: the selected indices).
    `extra_loss` is called after each forward pass and added to the loss; `after_step` after each optimizer
    step with its 1-based number.
    """

    trainable: tuple[str, ...] = ()
    lr_factor: Mapping[str, float] = field(default_factory=dict)
    carried: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    extra_loss: Callable[[], Tensor] | None = None
    after_step: Callable[[int], None] | None = None


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass: its fields are its hyper-parameters, with the paper's defaults.

    Class attributes say what a plan must know. `recipe` are training values to use where the spec gives none
    (e.g. {"lr": 1e-3}); in a stack the leftmost method that names a value wins. `bounds` limits numeric fields
    (low, high), `choices` the string fields.

    Optional: `settled_by: ClassVar[str] = "package.module:function"`, for hyper-parameters that depend on the
    backbone and must be in the job as numbers (a merge rate becomes tokens per block). The function takes the
    hyper-parameters by name and the BackboneFacts at the image size of the job, and returns all of them; it loads
    no torch, is pure, changes nothing when applied to its own result, and raises MethodError with the reason where
    it must refuse. The plan applies it, so that `prepare` sees settled values only.

    Optional: `by_task: ClassVar[Mapping[str, Mapping[str, Scalar]]]`, other defaults of hyper-parameters on another
    kind of task, e.g. {"segmentation": {"loss": "task"}}; what a spec gives goes before them.

    Optional: `later: ClassVar[tuple[str, ...]]`, fields that came after jobs were named: at their default they are left
    out of a job, so that it keeps its name.

    Optional: `keeps_features: ClassVar[bool] = True` for a method that neither trains nor changes more than the head:
    the plan then has the features of each split computed once, for all seeds and training values.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    summary: ClassVar[str]
    paper: ClassVar[str]
    seams: ClassVar[frozenset[str]]
    families: ClassVar[tuple[str, ...]]  # backbone families it can adapt; ("*",) = all
    space: ClassVar[Mapping[str, Domain]]
    recipe: ClassVar[Mapping[str, Scalar]]
    bounds: ClassVar[Mapping[str, tuple[float, float]]]
    choices: ClassVar[Mapping[str, tuple[str, ...]]]
    needs: ClassVar[tuple[Need, ...]]

    def refuses(self, facts: BackboneFacts) -> str | None:
        """Why this method cannot adapt that backbone with these hyper-parameters; None if it can."""

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        """Patch the model in place, freeze what must not move, and say what may."""

    def merge(self, model: nn.Module) -> nn.Module:
        """The same function in plain modules where the method can be folded away; in place."""


@runtime_checkable
class MakesArtifacts(Protocol):
    """A method with needs also knows how to make them, on the plain backbone with a fresh head."""

    def make_artifact(self, kind: str, model: nn.Module, data: TrainingData) -> Mapping[str, Tensor]:
        """The tensors of the artifact; the model's weights must come out unchanged."""


@runtime_checkable
class CountsWithoutData(Protocol):
    """A method with needs may also say what its artifacts look like, so that costs can be counted without data."""

    def stand_in(self, kind: str, model: nn.Module) -> Mapping[str, Tensor]:
        """Tensors that `prepare` takes for the artifact: of the real one's shapes and types, with valid positions that
        nothing has chosen. Called with the model that `prepare` was given, which may be on the meta device."""
