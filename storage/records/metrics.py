"""Every metric that Sweepboard knows: the same names in SQL, MLflow, CSV and on the board."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records.job import CLASSIFICATION, SEGMENTATION


@dataclass(frozen=True)
class Metric:
    """`better`: "higher", "lower" or "" (a fact). `is_cost`: depends on the machine; left out by `--no-costs`."""

    unit: str
    better: str
    meaning: str
    is_cost: bool = False


METRICS: dict[str, Metric] = {
    "train_loss": Metric("nats", "lower", "mean training loss of the epoch"),
    "train_top1_pct": Metric("%", "higher", "training top-1 of the epoch, on the augmented batches as trained"),
    "lr": Metric("", "", "learning rate at the end of the epoch (first parameter group)"),
    "val_loss": Metric("nats", "lower", "cross-entropy on val200 after the last epoch"),
    "val_top1_pct": Metric("%", "higher", "top-1 on val200 after the last epoch"),
    "test_loss": Metric("nats", "lower", "cross-entropy on the test split, read once"),
    "test_top1_pct": Metric("%", "higher", "top-1 on the test split, read once after the last epoch"),
    "test_peek_top1_pct": Metric("%", "higher", "best test top-1 over the epochs (protocol `paper` only)"),
    "test_mce_pct": Metric("%", "lower", "mean corruption error, each corruption's divided by AlexNet's (ImageNet-C)"),
    "train_dice_pct": Metric("%", "higher", "training Dice of the epoch, mean over images, on the batches as trained"),
    "val_dice_pct": Metric("%", "higher", "Dice on val200 after the last epoch, mean over images"),
    "val_iou_pct": Metric("%", "higher", "IoU on val200 after the last epoch, mean over images"),
    "val_dice_pooled_pct": Metric("%", "higher", "Dice on val200 over the pixels of all images together"),
    "val_iou_pooled_pct": Metric("%", "higher", "IoU on val200 over the pixels of all images together"),
    "val_dice_release_pct": Metric("%", "higher", "val200 as in GPS's release: background ignored, no score of a mask"),
    "test_dice_pct": Metric("%", "higher", "Dice of the foreground on the test split, mean over images"),
    "test_iou_pct": Metric("%", "higher", "IoU of the foreground on the test split, mean over images"),
    "test_dice_pooled_pct": Metric("%", "higher", "Dice on the test split over the pixels of all images together"),
    "test_iou_pooled_pct": Metric("%", "higher", "IoU on the test split over the pixels of all images together"),
    "test_dice_release_pct": Metric("%", "higher", "as in GPS's release: background ignored, 2R/(1+R) of the recall R"),
    "test_peek_dice_pct": Metric("%", "higher", "best test Dice over the epochs (protocol `paper` only)"),
    "trainable_params": Metric("", "lower", "trained values without the head"),
    "head_params": Metric("", "lower", "trained values of the classification head"),
    "total_params": Metric("", "", "values of the model with head, before adaptation"),
    "macs": Metric("MAC", "lower", "multiply-accumulates of one image, adapters unmerged"),
    "delta_bytes": Metric("byte", "lower", "size of the delta checkpoint"),
    "optimizer_state_bytes": Metric("byte", "lower", "size of the optimizer's state at the end"),
    "wall_s": Metric("s", "lower", "wall time of the whole job", is_cost=True),
    "cpu_s": Metric("s", "lower", "CPU time of the whole job, all threads", is_cost=True),
    "train_s": Metric("s", "lower", "wall time inside training epochs", is_cost=True),
    "eval_s": Metric("s", "lower", "wall time inside evaluation", is_cost=True),
    "overhead_s": Metric("s", "lower", "wall time outside training, evaluation and artifacts", is_cost=True),
    "peak_mem_mib": Metric("MiB", "lower", "peak memory of the device (GPU) during the job", is_cost=True),
    "train_img_per_s": Metric("image/s", "higher", "training steps on ready images, median window", is_cost=True),
    "infer_img_per_s": Metric("image/s", "higher", "inference, as trained, median window", is_cost=True),
    "infer_merged_img_per_s": Metric("image/s", "higher", "merged inference, median window", is_cost=True),
    "train_spread_pct": Metric("%", "lower", "training windows, (largest - smallest) / median", is_cost=True),
    "infer_spread_pct": Metric("%", "lower", "inference windows, (largest - smallest) / median", is_cost=True),
    "infer_merged_spread_pct": Metric("%", "lower", "merged windows, (largest - smallest) / median", is_cost=True),
    "train_peak_mem_mib": Metric("MiB", "lower", "peak memory of training, model included", is_cost=True),
    "infer_peak_mem_mib": Metric("MiB", "lower", "peak memory of inference, model included", is_cost=True),
}

PRIMARY = {CLASSIFICATION: "top1_pct", SEGMENTATION: "dice_pct"}
"""Kind of task -> the metric, behind `val_` or `test_`, that is searched, ranked and averaged."""

SEGMENTATION_METRICS = tuple(name for name in METRICS if "_dice_" in name or "_iou_" in name)
"""Both of one image: an image whose truth and prediction are empty has 100."""

SPEED_METRICS = tuple(METRICS)[list(METRICS).index("train_img_per_s") :]
"""Those of measure jobs. Memory: on a GPU what torch allocated at most, on a CPU the growth of resident memory."""
