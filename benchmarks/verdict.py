"""The verdict in simulated experiments: how often it is false with a look after every 100 requests, and how soon right.

    python benchmarks/verdict.py [runs]

Needs nothing but the package; 2,000 runs of each experiment take a minute or two. Prints a table: the share of runs
with a false verdict at any look, or with the right one within the planned sample, and an exact 99.9 % interval of it.
"""

import math
import sys
from collections.abc import Iterator

import numpy as np
from guarded import Traffic, at_the_limit, constant, failures, raising, slow, strict
from simulations import drifts, excesses, families, mismatches, misses, numbers, pairs, rates, users, waves

from hansang.rollout.drift import Drift
from hansang.rollout.guards import Errors, Latency
from hansang.rollout.metric import Metric, accuracy
from hansang.rollout.plan import plan, plan_pairs

SEED = 20261124
LOOKS = 300
RATE, PLAIN = accuracy(effect=0.02), accuracy()
NUMBER, TIME = Metric("number", "1"), Metric("time", "1", "lower", scale="ratio")
FALSE = ("better", "worse")
Line = tuple[str, int, int, str]  # what, how often, of how many, what is stated
TAILS = {
    "lognormal (2)": lambda rng, size: rng.lognormal(0, 2, size),
    "Pareto (2.5)": lambda rng, size: rng.pareto(2.5, size) + 1,
}


def false_verdicts(rng: np.random.Generator, runs: int) -> Iterator[Line]:
    """Experiments without a difference: no verdict is right."""

    def line(what: str, share: float, of: int = runs) -> Line:
        return what, round(share * of), of, "at most 5 %"

    for split in (0.5, 0.1):
        for rate in (0.8, 0.1, 0.01):
            for metric, tuned in ((RATE, "tuned"), (PLAIN, "not tuned")):
                said = rates(rng, runs, LOOKS, (rate, rate), metric, split)
                yield line(f"A/A, rate {rate:g}, share {split:g}, {tuned}", said.share(*FALSE))
        few = runs // 2
        for tail, draw in TAILS.items():
            for metric, name in ((NUMBER, "means"), (TIME, "geometric means")):
                said = numbers(rng, few, 200, draw, metric, split)
                yield line(f"A/A, {tail}, {name}, share {split:g}", said.share(*FALSE), few)
    for disagreement in (0.003, 0.01, 0.12):
        said = pairs(rng, runs, LOOKS, disagreement, 0.0, RATE)
        yield line(f"shadow, no difference, one side right in {disagreement:.1%}", said.share(*FALSE))
    for pair in ((0.8, 0.82), (0.01, 0.03)):
        missed = misses(rng, runs, LOOKS, pair, RATE, 0.1)
        yield line(f"a true difference of {pair[0]:.0%} and {pair[1]:.0%}, share 0.1, not in the interval", missed)
    margin = accuracy(margin=0.02, effect=0.02)
    said = rates(rng, runs, LOOKS, (0.8, 0.78), margin)
    yield line("worse by just the margin, called no worse", said.share("better", "no worse"))
    yield line("three metrics together, A/A", families(rng, runs, LOOKS, 0.8, PLAIN, 3).share(*FALSE))
    few = runs // 4
    yield line("A/A, busy users, by key", users(rng, few, 100, PLAIN, 1000).share(*FALSE), few)
    wave = Metric("number", "1", effect=0.1)
    yield line(
        "shadow, neighbours alike (AR 0.8), blocks of 50", waves(rng, few, 200, wave, 0.8, 50).share(*FALSE), few
    )
    wrong = users(rng, few, 100, PLAIN, 1000, by_key=False)
    yield "for comparison: busy users, by request", round(wrong.share(*FALSE) * few), few, "wrong"
    wrong = waves(rng, few, 200, wave, 0.8, 1)
    yield "for comparison: neighbours alike, by row", round(wrong.share(*FALSE) * few), few, "wrong"


def found(rng: np.random.Generator, runs: int) -> Iterator[Line]:
    """A gain of two points: the verdict is `better`."""
    for split in (0.5, 0.1):
        planned = plan(0.8, 0.02, split=split).total
        said = rates(rng, runs, planned // 100, (0.8, 0.82), RATE, split)
        half = np.median(said.first)
        what = f"A/B, share {split:g}, planned {planned:,} requests (half of the runs after {half:,.0f})"
        yield what, round(said.share("better") * runs), runs, "at least 90 %"
    for disagreement in (0.05, 0.12, 0.31):
        planned = plan_pairs(0.02, disagreement=disagreement).total
        said = pairs(rng, runs, math.ceil(planned / 100), disagreement, 0.02, RATE)
        half = np.median(said.first)
        what = f"shadow, one side right in {disagreement:.0%}, planned {planned:,} (half of the runs after {half:,.0f})"
        yield what, round(said.share("better") * runs), runs, "at least 90 %"


def ratios(rng: np.random.Generator, runs: int) -> Iterator[Line]:
    for planned, real, stated in ((0.5, 0.5, "at most 0.1 %"), (0.1, 0.1, "at most 0.1 %"), (0.5, 0.52, "found")):
        flags = np.isfinite(mismatches(rng, runs, 200, planned, real))
        yield f"mismatch, planned {planned:.0%}, really {real:.0%}, 20,000 requests", int(flags.sum()), runs, stated


def alarms(rng: np.random.Generator, runs: int) -> Iterator[Line]:
    """The tests of the guards, at 1 % that can be counted: rates with a look at every row, bins at every 100."""
    for limit in (0.5, 0.1):
        flags = np.isfinite(excesses(rng, runs, 500, limit, limit, 0.01))
        yield f"guard's test of a count, share {limit:g}, nothing wrong", int(flags.sum()), runs, "at most 1 %"
        flags = np.isfinite(drifts(rng, runs, 50, limit, 0.01))
        yield f"guard's test of ten bins, share {limit:g}, nothing wrong", int(flags.sum()), runs, "at most 1 %"


def guards(rng: np.random.Generator, runs: int) -> Iterator[Line]:
    """The guards themselves on a table of rows; sound challengers at 5 % and without the guards' least effect."""
    looks = np.unique(np.geomspace(6, 1500, 12).astype(int))
    kinds = ((Errors(), raising), (Latency(), slow), (Drift(), constant))
    for share, name in ((0.5, "halves"), (0.1, "a tenth"), (None, "shadow")):
        for guard, spoil in kinds:
            sound = Traffic(share, 1500, at_the_limit if isinstance(guard, Latency) else None)
            failed = np.isfinite(failures(rng, strict(guard, 0.05), sound, runs, looks))
            yield f"guard {guard.name} at 5 %, sound challenger, {name}", int(failed.sum()), runs, "at most 5 %"
            rows = failures(rng, guard, Traffic(share, 1000, spoil), runs, np.arange(4, 1000, 4))
            soon = f"half after {np.median(rows):g} of its rows, all after {rows.max():g}"
            yield f"guard {guard.name}, bad challenger, {name}: {soon}", int(np.isfinite(rows).sum()), runs, "found"


def interval(count: int, runs: int, error: float = 0.001) -> tuple[float, float]:
    """Give the exact interval of a share (Clopper and Pearson), by bisection."""

    def at_most(hits: int, rate: float) -> float:
        logs = [
            math.log(math.comb(runs, k)) + k * math.log(rate) + (runs - k) * math.log1p(-rate) for k in range(hits + 1)
        ]
        return math.fsum(map(math.exp, logs))

    def solve(hits: int, chance: float) -> float:
        low, high = 1e-12, 1 - 1e-12
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(hits, middle) > chance else (low, middle)
        return low

    low = 0.0 if count == 0 else solve(count - 1, 1 - error / 2)
    return low, 1.0 if count == runs else solve(count, error / 2)


def main(runs: int = 2000) -> None:
    rng = np.random.default_rng(SEED)
    print(f"{runs:,} runs, a look after every 100 requests\n\n| experiment | runs | share | interval | stated |")
    print("|---|---|---|---|---|")
    for part, size in ((false_verdicts, runs), (found, runs), (ratios, runs), (alarms, runs), (guards, runs // 100)):
        for what, count, of, stated in part(rng, max(size, 8)):
            low, high = interval(count, of)
            print(
                f"| {what} | {count:,} of {of:,} | {count / of:.2%} | {low:.2%} … {high:.2%} | {stated} |", flush=True
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
