"""Sums and quantiles of a stream of numbers at constant memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ERROR = 0.01  # a quantile is off by at most so much of itself
GAMMA = (1 + ERROR) / (1 - ERROR)
SMALLEST = 1e-12  # numbers below it count as 0
Z = 1.959963984540054  # the normal distribution's 0.975 quantile


@dataclass(slots=True)
class Sketch:
    """Counts numbers in buckets that grow by a constant factor, so that any quantile is right within 1 %.

    Method: DDSketch (Masson, Rim and Lee, VLDB 2019, https://arxiv.org/abs/1908.10693), for both signs.
    """

    positive: Counter[int] = field(default_factory=Counter)
    negative: Counter[int] = field(default_factory=Counter)
    zeros: int = 0

    def add(self, values: np.ndarray) -> None:
        """Count numbers; they are finite."""
        sizes = np.abs(values)
        large = sizes >= SMALLEST
        self.zeros += int(len(values) - np.count_nonzero(large))
        for buckets, chosen in ((self.positive, large & (values > 0)), (self.negative, large & (values < 0))):
            places = np.ceil(np.log(sizes[chosen]) / math.log(GAMMA)).astype(np.int64)
            for place, count in zip(*np.unique(places, return_counts=True), strict=True):
                buckets[int(place)] += int(count)

    @property
    def count(self) -> int:
        """How many numbers were counted."""
        return self.zeros + self.positive.total() + self.negative.total()

    def quantile(self, share: float) -> float | None:
        """Give the number below which this share of all lies; None where there is none."""
        count = self.count
        if not count:
            return None
        left = share * (count - 1)
        for place in sorted(self.negative, reverse=True):
            left -= self.negative[place]
            if left < 0:
                return -middle(place)
        left -= self.zeros
        if left < 0:
            return 0.0
        places = sorted(self.positive)
        for place in places:
            left -= self.positive[place]
            if left < 0:
                return middle(place)
        return middle(places[-1]) if places else 0.0

    def quantiles(self, *shares: float) -> dict[str, float | None]:
        """Give several quantiles by name, as `p95`."""
        return {f"p{share * 100:02.0f}": rounded(self.quantile(share)) for share in shares}


def middle(place: int) -> float:
    """Give the number that stands for a bucket."""
    return float(2 * GAMMA**place / (GAMMA + 1))


@dataclass(slots=True)
class Moments:
    """Count, mean and variance of a stream (Chan, Golub and LeVeque 1979, which does not cancel)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: np.ndarray) -> None:
        """Take numbers in."""
        more = len(values)
        if not more:
            return
        mean = float(values.mean())
        total = self.count + more
        apart = mean - self.mean
        self.squares += float(((values - mean) ** 2).sum()) + apart * apart * self.count * more / total
        self.mean += apart * more / total
        self.count = total

    @property
    def margin(self) -> float | None:
        """Half of the 95 % interval of the mean, by Student's t; None for fewer than two numbers."""
        if self.count < 2:
            return None
        degrees = self.count - 1
        return student(degrees) * math.sqrt(self.squares / degrees / self.count)

    def document(self) -> dict[str, Any]:
        """Give the mean with its 95 % interval."""
        margin = self.margin
        interval = None if margin is None else [rounded(self.mean - margin), rounded(self.mean + margin)]
        return {"mean": rounded(self.mean) if self.count else None, "interval": interval}


def student(degrees: int) -> float:
    """Give Student's 0.975 quantile (Abramowitz and Stegun 26.7.5; exact for the first two)."""
    if degrees <= 2:
        return 12.706204736 if degrees == 1 else 4.302652730
    z = Z
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def wilson(hits: int, count: int) -> list[float] | None:
    """Give the 95 % interval of a share (Wilson 1927)."""
    if not count:
        return None
    share, squared = hits / count, Z * Z
    center = (share + squared / (2 * count)) / (1 + squared / count)
    half = Z * math.sqrt(share * (1 - share) / count + squared / (4 * count * count)) / (1 + squared / count)
    return [rounded(max(center - half, 0.0)) or 0.0, rounded(min(center + half, 1.0)) or 0.0]


def rounded(value: float | None) -> float | None:
    """Keep six digits that say something."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
