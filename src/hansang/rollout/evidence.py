"""Exact sequential tests of counts: e-values, which may be looked at after every row.

An e-value of 1/alpha or more comes up at any time with a probability of at most alpha (Ville's inequality). Here it is
the likelihood of the counts under a mixture of rates over that under the rate of the null hypothesis; the mixture is a
Beta distribution around that rate. For two of equal chance this is McNemar's test made sequential; see Lindon and
Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hansang.rollout.arm import Floats

_lgamma = np.frompyfunc(math.lgamma, 1, 1)
SPREAD = 2.0  # weight of the mixture's prior: wide, for what is far away; 200 for what is near


def log_gamma(values: npt.ArrayLike) -> Floats:
    """Give the logarithm of the gamma function; numpy has none, and scipy is no dependency."""
    return np.asarray(_lgamma(np.asarray(values, np.float64)), np.float64)


def log_beta(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Give the logarithm of the beta function."""
    return log_gamma(a) + log_gamma(b) - log_gamma(np.add(a, b))


def log_evidence(hits: npt.ArrayLike, trials: npt.ArrayLike, rate: float, weight: float = SPREAD) -> Floats:
    """Give the logarithm of the e-value against "each trial hits with this rate", for either direction.

    Every argument but `rate` and `weight` may be an array. The mixture is Beta(weight * rate, weight * (1 - rate)).
    """
    hit, miss = np.asarray(hits, np.float64), np.subtract(trials, hits)
    a, b = weight * rate, weight * (1.0 - rate)
    prior = float(log_beta(a, b))
    evidence: Floats = log_beta(hit + a, miss + b) - prior - hit * math.log(rate) - miss * math.log1p(-rate)
    return evidence


def log_excess(hits: npt.ArrayLike, trials: npt.ArrayLike, rate: float, weight: float = SPREAD) -> Floats:
    """Give the logarithm of the evidence that trials hit more often than this rate; never above 0 where they do not.

    It reaches log(1/alpha) at any time with a probability of at most alpha when the true rate is this one, and when
    it is lower: above the rate the evidence grows with the hits, for the mixture is centred there.
    """
    more = np.asarray(hits, np.float64) > rate * np.asarray(trials, np.float64)
    excess: Floats = np.where(more, log_evidence(hits, trials, rate, weight), -np.inf)
    return excess


def log_mismatch(counts: npt.ArrayLike, shares: npt.ArrayLike, weight: float = 200.0) -> Floats:
    """Give the logarithm of the e-value against "units come to the arms in these shares"; arms on the last axis.

    The mixture is a Dirichlet distribution around the shares (Lindon and Malek 2022).
    """
    seen = np.asarray(counts, np.float64)
    part = np.asarray(shares, np.float64) / np.sum(shares)
    prior = weight * part
    arms = log_gamma(seen + prior) - log_gamma(prior) - seen * np.log(part)
    mismatch: Floats = arms.sum(axis=-1) + float(log_gamma(weight)) - log_gamma(seen.sum(axis=-1) + weight)
    return mismatch


def log_average(logarithms: Floats) -> float:
    """Give the logarithm of the mean of e-values, which is an e-value whatever they have to do with each other."""
    most = float(logarithms.max())
    return most if most == -math.inf else most + math.log(float(np.exp(logarithms - most).mean()))
