"""The mean corruption error of Hendrycks and Dietterich (ICLR 2019, arXiv 1903.12261)."""

from __future__ import annotations

import math
from collections.abc import Mapping


def mean_corruption_error_pct(top1_pct: Mapping[str, float], reference_error_pct: Mapping[str, float]) -> float:
    """The mean over corruptions of error / reference error, in percent: 100 is as good as the reference (AlexNet).

    `top1_pct`: part (`gaussian_noise/1`) -> top-1 in percent; the error of a corruption is the mean over its parts, and
    every part has as many images. `reference_error_pct`: corruption -> percent.

    >>> mean_corruption_error_pct({"fog/1": 60.0, "fog/2": 40.0}, {"fog": 80.0})
    62.5
    """
    ratios = []
    for corruption, reference in reference_error_pct.items():
        errors = [100 - value for part, value in top1_pct.items() if part.partition("/")[0] == corruption]
        ratios.append(math.fsum(errors) / len(errors) / reference)
    return 100 * math.fsum(ratios) / len(ratios)
