"""Simulated experiments, judged by the code of the package at every look; thousands of runs at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hansang.rollout.arm import Arm
from hansang.rollout.evidence import log_evidence, log_excess, log_mismatch
from hansang.rollout.metric import Metric
from hansang.rollout.verdict import Effect, decide, half_width, paired, unpaired

LOOK = 100  # requests between two looks
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was ever said in each run: the word that came first, and after how many requests (inf: none)."""

    words: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, words: np.ndarray, requests: np.ndarray) -> "Outcome":
        """Read the words of runs x looks."""
        decided = words != "undecided"
        place = decided.argmax(axis=1)
        said = decided.any(axis=1)
        rows = np.arange(len(words))
        return cls(np.where(said, words[rows, place], "undecided"), np.where(said, requests[place], np.inf))

    def share(self, *words: str) -> float:
        """Give the share of runs in which one of these words came first."""
        return float(np.isin(self.words, words).mean())


def judged(effect: Effect, metric: Metric, alpha: float = 0.05) -> np.ndarray:
    """Give the word of every run and look, by the package's own interval."""
    half = half_width(effect, metric, alpha)
    good = metric.sign * effect.estimate
    return decide(good - half, good + half, metric.room)


def assigned(rng: np.random.Generator, runs: int, looks: int, split: float) -> np.ndarray:
    """Give how many requests of each look go to the challenger."""
    return rng.binomial(LOOK, split, (runs, looks))


def effects(
    rng: np.random.Generator,
    runs: int,
    looks: int,
    pair: tuple[float, float],
    metric: Metric,
    split: float,
    alpha: float = 0.05,
) -> Effect:
    """Split traffic, a rate for each arm: the effect of every run and look."""
    counts = assigned(rng, runs, looks, split)
    arms = []
    for count, rate in ((LOOK - counts, pair[0]), (counts, pair[1])):
        hits, rows = rng.binomial(count, rate).cumsum(1).astype(float), count.cumsum(1).astype(float)
        arms.append(Arm.of_rows(rows, hits, hits))
    return unpaired(*arms, metric, alpha)


def rates(
    rng: np.random.Generator, runs: int, looks: int, pair: tuple[float, float], metric: Metric, split: float = 0.5
) -> Outcome:
    """Split traffic, a rate for each arm: what was said."""
    words = judged(effects(rng, runs, looks, pair, metric, split), metric)
    return Outcome.of(words, LOOK * np.arange(1, looks + 1))


def misses(
    rng: np.random.Generator,
    runs: int,
    looks: int,
    pair: tuple[float, float],
    metric: Metric,
    split: float,
    alpha: float = 0.05,
) -> float:
    """Give the share of runs in which the interval did not hold the true difference at some look."""
    effect = effects(rng, runs, looks, pair, metric, split, alpha)
    off = np.abs(effect.estimate - (pair[1] - pair[0])) > half_width(effect, metric, alpha)
    return float(off.any(axis=1).mean())


def pairs(
    rng: np.random.Generator, runs: int, looks: int, disagreement: float, effect: float, metric: Metric
) -> Outcome:
    """Shadow traffic: of the share of rows of which exactly one side is right, the challenger is right more often."""
    wins = rng.binomial(LOOK, (disagreement + effect) / 2, (runs, looks))
    losses = rng.binomial(LOOK - wins, (disagreement - effect) / 2 / (1 - (disagreement + effect) / 2))
    rows = np.broadcast_to(LOOK * np.arange(1.0, looks + 1), wins.shape)
    won, lost = wins.cumsum(1).astype(float), losses.cumsum(1).astype(float)
    differences = Arm.of_rows(rows, won - lost, won + lost)
    return Outcome.of(judged(paired(differences, metric), metric), rows[0])


def chunks(runs: int, size: int) -> Iterator[int]:
    """Cut many runs into parts that fit into memory."""
    for start in range(0, runs, size):
        yield min(size, runs - start)


def numbers(
    rng: np.random.Generator, runs: int, looks: int, draw: Draw, metric: Metric, split: float = 0.5, shift: float = 0.0
) -> Outcome:
    """Split traffic of numbers, both arms drawn alike but for the shift; logarithms where the metric is a ratio."""
    found = []
    for part in chunks(runs, 100):
        values = draw(rng, (part, looks, LOOK))
        values = np.log(values) if metric.scale == "ratio" else values
        there = rng.random(values.shape) < split
        values = values + shift * there
        arms = []
        for side in (~there, there):
            kept = values * side
            sums = (side.sum(2).cumsum(1).astype(float), kept.sum(2).cumsum(1), (kept * kept).sum(2).cumsum(1))
            arms.append(Arm.of_rows(*sums))
        found.append(judged(unpaired(*arms, metric), metric))
    return Outcome.of(np.concatenate(found), LOOK * np.arange(1, looks + 1))


def users(rng: np.random.Generator, runs: int, looks: int, metric: Metric, people: int, by_key: bool = True) -> Outcome:
    """Split traffic of few busy and many rare users, each with a rate of his own, kept on one side by his key."""
    found = []
    weights = 1.0 / np.arange(1, people + 1) ** 0.5
    for part in chunks(runs, 50):
        rate = rng.beta(1.0, 3.0, (part, people))
        side = rng.random((part, people)) < 0.5
        rows, totals = np.zeros((part, people)), np.zeros((part, people))
        words = []
        for _ in range(looks):
            counts = rng.multinomial(LOOK, weights / weights.sum(), part)
            rows += counts
            totals += rng.binomial(counts, rate)
            arms = [keyed(rows * mine, totals * mine, by_key) for mine in (~side, side)]
            words.append(judged(unpaired(*arms, metric), metric))
        found.append(np.stack(words, axis=1))
    return Outcome.of(np.concatenate(found), LOOK * np.arange(1, looks + 1))


def keyed(rows: np.ndarray, totals: np.ndarray, by_key: bool) -> Arm:
    """Sum up an arm by users, or, wrongly, by requests."""
    whole = Arm.of_rows(rows.sum(1), totals.sum(1), totals.sum(1))
    if not by_key:
        return whole
    sums = ((totals * totals).sum(1), (totals * rows).sum(1), (rows * rows).sum(1))
    return Arm((rows > 0).sum(1).astype(float), whole.rows, whole.total, whole.squares, *sums)


def waves(rng: np.random.Generator, runs: int, looks: int, metric: Metric, memory: float, block: int) -> Outcome:
    """Shadow traffic whose differences remember the one before (AR(1)); summed up by blocks of rows, 1 is none."""
    found = []
    for part in chunks(runs, 100):
        steps = rng.normal(size=(part, looks * LOOK))
        for place in range(1, steps.shape[1]):
            steps[:, place] += memory * steps[:, place - 1]
        sums = steps.reshape(part, -1, block).sum(2)
        last = slice(LOOK // block - 1, None, LOOK // block)
        total, squares = sums.cumsum(1)[:, last], np.square(sums).cumsum(1)[:, last]
        units = np.broadcast_to(np.arange(1.0, looks + 1) * (LOOK // block), total.shape)
        rowwise = np.square(steps).cumsum(1)[:, LOOK - 1 :: LOOK]
        arm = Arm(units, units * block, total, rowwise, squares, total * block, units * block * block)
        found.append(judged(paired(arm, metric), metric))
    return Outcome.of(np.concatenate(found), LOOK * np.arange(1, looks + 1))


def mismatches(rng: np.random.Generator, runs: int, looks: int, planned: float, real: float) -> np.ndarray:
    """Give after how many requests each run was flagged for its shares; inf where it never was."""
    counts = assigned(rng, runs, looks, real).cumsum(1)
    rest = LOOK * np.arange(1, looks + 1) - counts
    evidence = log_mismatch(np.stack([rest, counts], axis=-1), (1 - planned, planned))
    return first(evidence >= np.log(1000))


def excesses(rng: np.random.Generator, runs: int, rows: int, limit: float, rate: float, alpha: float) -> np.ndarray:
    """Give after how many rows a guard on a rate fails in each run, with a look after each row; inf where never."""
    hits = (rng.random((runs, rows)) < rate).cumsum(1)
    return first(log_excess(hits, np.arange(1, rows + 1), limit) >= -np.log(alpha), 1)


def drifts(rng: np.random.Generator, runs: int, looks: int, share: float, alpha: float) -> np.ndarray:
    """Give after how many rows answers of ten bins, alike in both arms, were called drifted; inf where never."""
    mine = assigned(rng, runs, looks, share)
    counts = [rng.multinomial(count, np.full(10, 0.1)).cumsum(1).astype(float) for count in (mine, LOOK - mine)]
    evidence = np.exp(log_evidence(counts[0], counts[0] + counts[1], share)).mean(axis=2)
    return first(evidence >= 1 / alpha)


def first(flags: np.ndarray, look: int = LOOK) -> np.ndarray:
    """Give the requests before the first flag of each run."""
    return np.where(flags.any(1), look * (flags.argmax(1) + 1.0), np.inf)


def families(rng: np.random.Generator, runs: int, looks: int, rate: float, metric: Metric, metrics: int) -> Outcome:
    """Split traffic with several independent metrics, all equal; says the worst that was said of any at each look."""
    words = np.full((runs, looks), "undecided", dtype="<U9")
    counts = assigned(rng, runs, looks, 0.5)
    for _ in range(metrics):
        arms = []
        for count in (LOOK - counts, counts):
            hits, rows = rng.binomial(count, rate).cumsum(1).astype(float), count.cumsum(1).astype(float)
            arms.append(Arm.of_rows(rows, hits, hits))
        said = judged(unpaired(*arms, metric, 0.05 / metrics), metric, 0.05 / metrics)
        words = np.where(said == "undecided", words, said)
    return Outcome.of(words, LOOK * np.arange(1, looks + 1))
