"""Records: serialisable facts that cross every border. Standard library only."""

from storage.records.canonical import Params, Value, canonical_json, digest, frozen, thawed
from storage.records.job import (
    CLASSIFICATION,
    FEATURES,
    SCHEMA,
    SEGMENTATION,
    ArtifactKey,
    BackboneRef,
    DatasetRef,
    Job,
    MethodCall,
    Phase,
)
from storage.records.metrics import METRICS, PRIMARY, SEGMENTATION_METRICS, SPEED_METRICS, Metric
from storage.records.recipe import Recipe
from storage.records.result import EpochMetrics, Failure, FailureClass, Lease, Result, Status
from storage.records.tuned import Trial, TrialEnd, Tuned

__all__ = [
    "CLASSIFICATION",
    "FEATURES",
    "METRICS",
    "PRIMARY",
    "SCHEMA",
    "SEGMENTATION",
    "SEGMENTATION_METRICS",
    "SPEED_METRICS",
    "ArtifactKey",
    "BackboneRef",
    "DatasetRef",
    "EpochMetrics",
    "Failure",
    "FailureClass",
    "Job",
    "Lease",
    "MethodCall",
    "Metric",
    "Params",
    "Phase",
    "Recipe",
    "Result",
    "Status",
    "Trial",
    "TrialEnd",
    "Tuned",
    "Value",
    "canonical_json",
    "digest",
    "frozen",
    "thawed",
]
