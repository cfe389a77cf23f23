"""Small records, and a clock, for tests of stores."""

from __future__ import annotations

from dataclasses import dataclass, replace

from storage.records import (
    ArtifactKey,
    BackboneRef,
    DatasetRef,
    EpochMetrics,
    Failure,
    FailureClass,
    Job,
    MethodCall,
    Phase,
    Recipe,
    Result,
    Status,
    frozen,
)
from storage.store import Entry


@dataclass
class VirtualClock:
    """Time that passes when a test says so; seconds since the Unix epoch."""

    now_s: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def sample_job(seed: int = 0, *, needs: tuple[ArtifactKey, ...] = (), makes: ArtifactKey | None = None) -> Job:
    """A job of LoRA + PYRA on ViT-B; `makes` turns it into a prepare job."""
    return Job(
        phase=Phase.FINAL if makes is None else Phase.PREPARE,
        methods=(
            MethodCall("lora", 1, frozen({"rank": 8, "targets": ["qkv", "proj"], "scale": 0.1})),
            MethodCall("pyra", 1, frozen({"merge_rate": "high"})),
        ),
        backbone=BackboneRef("vit_base_patch16_224.augreg_in21k", "a" * 64),
        dataset=DatasetRef("vtab1k/cifar", "d" * 64, 100),
        train_split="train800val200",
        score_split="test",
        recipe=Recipe(warmup_epochs=10.0, image_size=224),
        seed=seed,
        trainer_revision=1,
        makes=makes,
        needs=needs,
    )


def child_of(parent: Job, name: str = "robustness/imagenet_a") -> Job:
    """An evaluate job of that final job, on a set with three of its classes."""
    return replace(
        parent,
        phase=Phase.EVALUATE,
        dataset=DatasetRef(name, "e" * 64, 3),
        needs=(),
        parent=parent.job_id,
        trained_on=parent.dataset,
        class_map=(1, 7, 42),
    )


def sample_key(seed: int = 0) -> ArtifactKey:
    return ArtifactKey("gps_scores", frozen({"weights": "a" * 64, "seed": seed}))


def entries_of(*jobs: Job) -> list[Entry]:
    """The jobs in this order."""
    return [Entry(job, order, row=job.stack, resources={"cpus": 1.0}) for order, job in enumerate(jobs)]


def done(job: Job, top1_pct: float = 77.25, epochs: tuple[EpochMetrics, ...] = ()) -> Result:
    files = {} if job.makes is None else {"artifact": f"artifacts/{job.makes.key_id}.safetensors"}
    metrics = {"test_top1_pct": top1_pct}
    return Result(job_id=job.job_id, status=Status.DONE, metrics=metrics, epochs=epochs, files=files)


def failed(job: Job, failure_class: FailureClass = FailureClass.DIVERGED) -> Result:
    failure = Failure(failure_class, "the loss is NaN in epoch 3", "trace")
    return Result(job_id=job.job_id, status=Status.FAILED, failure=failure)


def curve(*losses: float) -> tuple[EpochMetrics, ...]:
    """Epochs 1, 2, … with these training losses."""
    return tuple(EpochMetrics(epoch, {"train_loss": loss}, wall_s=epoch * 0.5) for epoch, loss in enumerate(losses, 1))
