"""Intervals that hold at every look: asymptotic confidence sequences.

The boundary is that of the normal mixture: Robbins, "Statistical methods related to the law of the iterated logarithm"
(1970); for means of any distribution, as an asymptotic confidence sequence, Waudby-Smith, Arbour, Sinha, Kennedy and
Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences" (Annals of Statistics, 2024), eq. 3.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from hansang.rollout.arm import Numbers

LEAST = 100  # units an arm before anything is said: the sequences hold for large samples


def tuning(alpha: float) -> float:
    """Give the mixture's variance, in units of the planned information, with which the interval is tightest there.

    Waudby-Smith and others (2024), section 2.1, an approximation of their optimum.
    """
    return -2.0 * math.log(alpha) + math.log(-2.0 * math.log(alpha) + 1.0)


def boundary(progress: Numbers, alpha: float) -> Numbers:
    """Give the half width of the interval in standard errors, when this part of the planned information is there.

    It is crossed at any time, whatever the number of looks, with a probability of at most `alpha`, both sides
    together. At the plan (`progress` 1) and alpha 0.05 it is 3.04; a single look without peeking would need 1.96.
    """
    share = np.maximum(tuning(alpha) * progress, 1e-12)
    return np.sqrt((1.0 + 1.0 / share) * (np.log1p(share) - 2.0 * math.log(alpha)))


def needed(alpha: float, power: float) -> float:
    """Give the information, times the squared effect, at which the effect is seen with this probability.

    Counted at the last look alone; a look before may have seen it, so the true power is a little higher.
    """
    return float((boundary(1.0, alpha) + NormalDist().inv_cdf(power)) ** 2)
