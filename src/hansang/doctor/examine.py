"""Loads a service, measures it, and says what is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hansang.doctor.apart import Weight, imports, weigh
from hansang.doctor.finding import Finding
from hansang.doctor.past import Past, past_of, tried
from hansang.doctor.speed import SECONDS, Speed, measure
from hansang.doctor.words import declared
from hansang.errors import HansangError
from hansang.models.registry import parse
from hansang.service import Endpoint, Service
from hansang.settings import Settings

HEAVY_MB = 256.0


@dataclass(frozen=True, slots=True)
class Aim:
    """What a service is to reach: answers within `deadline` seconds at `rate` rows a second, for each endpoint.

    Left out, the deadline is the endpoint's and the rate that of the record's busiest minute. `heavy` is the memory in
    megabytes from which a model counts as heavy. An endpoint is measured for `seconds`.
    """

    deadline: float | None = None
    rate: float | None = None
    heavy: float = HEAVY_MB
    seconds: float = SECONDS


@dataclass(slots=True)
class Report:
    """What was found, and what was measured on the way."""

    findings: list[Finding] = field(default_factory=list)
    endpoints: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Give plain data."""
        findings = [finding.document() for finding in self.findings]
        return {"findings": findings, "endpoints": self.endpoints, "models": self.models, "notes": self.notes}


def examine(
    service: Service,
    target: str,
    settings: Settings,
    aim: Aim | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Examine a service; `target` is what it was loaded from, for what is looked at in other processes.

    Takes about three seconds an endpoint and one load a model. Raises `UsageError` when the service cannot be loaded.
    """
    aim = aim or Aim()
    report = Report()
    say("loading the service")
    service.load(settings)
    try:
        pasts = {
            endpoint.path: past_of(settings.records, service.name, endpoint.name) for endpoint in service.endpoints
        }
        report.findings += declared(service, settings, {path: past.inputs for path, past in pasts.items()})
        report.findings += offline_only(service, settings)
        asyncio.run(look_at_speed(service, aim, pasts, report, say))
    finally:
        service.unload()
    say("looking at what the service imports")
    report.findings += training_code(target, report)
    if len(service.models) > 1:
        say("weighing the models one by one")
        report.findings += all_in_one(service, target, aim, report)
    return report


# --- online big size ---


async def look_at_speed(
    service: Service, aim: Aim, pasts: Mapping[str, Past], report: Report, say: Callable[[str], None]
) -> None:
    """Measure every endpoint and hold it against its deadline and rate."""
    async with service.running():
        for endpoint in service.endpoints:
            past = pasts[endpoint.path]
            rows = rows_of(endpoint, past)
            if not rows:
                report.notes.append(f"endpoint {endpoint.path} was not measured: it has no example row and no record")
                continue
            say(f"measuring {endpoint.path}")
            try:
                speed = await measure(endpoint, rows, aim.seconds)
            except Exception as error:
                report.notes.append(f"endpoint {endpoint.path} was not measured: {type(error).__name__}: {error}")
                continue
            rate = aim.rate if aim.rate is not None else past.rate
            deadline = aim.deadline if aim.deadline is not None else endpoint.deadline
            report.endpoints.append(numbers(endpoint, speed, rate, deadline, past))
            if deadline is not None:
                report.findings += too_slow(endpoint, speed, rate, deadline, past)


def rows_of(endpoint: Endpoint, past: Past) -> list[Any]:
    """Give rows to measure with: recorded ones that still fit the schema, else the endpoint's example."""
    if endpoint.declared:
        return []
    adapter: Any = endpoint.reader
    rows = []
    for values in past.inputs:
        try:
            rows.append(adapter.validate_python(values, strict=False))
        except ValueError:
            continue
    sample = endpoint.sample()
    return rows or ([adapter.validate_python(sample, strict=False)] if sample is not None else [])


def numbers(endpoint: Endpoint, speed: Speed, rate: float, deadline: float | None, past: Past) -> dict[str, Any]:
    """Give what was measured, in milliseconds and rows a second."""
    wait = speed.wait(rate)
    return {
        "path": endpoint.path,
        "lone_ms": round(speed.lone * 1e3, 3),
        "row_ms": round(speed.per_row * 1e3, 4),
        "call_ms": round(speed.per_call * 1e3, 3),
        "capacity_per_s": round(speed.capacity, 1),
        "rate_per_s": round(rate, 2),
        "p99_ms": round(wait * 1e3, 2) if wait < float("inf") else None,
        "deadline_ms": None if deadline is None else round(deadline * 1e3, 3),
        "recorded_rows": past.rows,
        "repeated": round(past.repeated, 4),
    }


def too_slow(endpoint: Endpoint, speed: Speed, rate: float, deadline: float, past: Past) -> list[Finding]:
    """Say whether the deadline is met at the rate, and which remedies would help."""
    if speed.wait(rate) <= deadline:
        return []
    if speed.lone > deadline:
        evidence = f"one row alone takes {speed.lone * 1e3:.3g} ms, the deadline is {deadline * 1e3:.3g} ms"
    elif rate >= speed.capacity:
        evidence = f"{rate:.3g} rows a second come, {speed.capacity:.3g} can be predicted in full batches"
    else:
        evidence = (
            f"at {rate:.3g} rows a second an answer takes up to {speed.wait(rate) * 1e3:.3g} ms, "
            f"the deadline is {deadline * 1e3:.3g} ms"
        )
    return [
        Finding(
            "online big size", f"endpoint {endpoint.path}", evidence, "; ".join(remedies(speed, rate, deadline, past))
        )
    ]


def remedies(speed: Speed, rate: float, deadline: float, past: Past) -> list[str]:
    """Say which of cache, smaller model, async and batch would help, each with its figure."""
    found = []
    rest = rate * (1.0 - past.repeated)
    if past.repeated > 0.05:
        helps = speed.lone <= deadline and speed.wait(rest) <= deadline
        found.append(
            f"cache: {past.repeated:.0%} of the latest {len(past.inputs)} recorded rows repeat an earlier one; "
            + (f"cached(…) leaves {rest:.3g} rows a second, which are in time" if helps else "the others stay late")
        )
    else:
        found.append(
            "cache: would not help, recorded inputs hardly ever repeat" if past.inputs else "cache: unknown, no record"
        )
    factor = needed(speed, rate, deadline)
    found.append(f"smaller model: one that is {factor:.2g} times as quick would be in time (ONNX, int8, fewer trees)")
    found.append("async: staged(quick, slow) answers now and keeps the slow answer under /jobs/{id}")
    found.append("batch: where nobody waits for a single answer, hansang score predicts whole files")
    return found


def needed(speed: Speed, rate: float, deadline: float) -> float:
    """Give how many times quicker a model must be to be in time, to a tenth."""
    factor = 1.0
    while factor < 1e6:
        factor *= 1.1
        if Speed(speed.per_row / factor, speed.per_call / factor, speed.calls).wait(rate) <= deadline:
            break
    return factor


# --- the others ---


def training_code(target: str, report: Report) -> list[Finding]:
    """Look for training libraries among what the service imports."""
    try:
        found = imports(target)
    except HansangError as error:
        report.notes.append(f"imports were not looked at: {error}")
        return []
    if not found:
        return []
    named = ", ".join(f"{name} ({seconds:.2f} s)" for name, seconds in sorted(found.items(), key=lambda item: -item[1]))
    return [
        Finding(
            "training code in serving",
            target,
            f"loading the service imports {named}, which predict nothing: slower starts, a larger image, more to patch",
            "keep training in a file of its own, as examples/bikes/train.py and service.py do",
        )
    ]


def all_in_one(service: Service, target: str, aim: Aim, report: Report) -> list[Finding]:
    """Weigh the models; several heavy ones in one process fail, swap and scale together."""
    heavy: list[tuple[str, Weight]] = []
    labels = []
    for number, model in enumerate(service.models):
        labels.append(model.label)
        try:
            weight = weigh(target, number)
        except HansangError as error:
            report.notes.append(f"model {model.label} was not weighed: {error}")
            continue
        report.models.append(
            {"name": model.label, "memory_mb": round(weight.megabytes, 1), "load_s": round(weight.seconds, 2)}
        )
        if weight.megabytes >= aim.heavy:
            heavy.append((model.label, weight))
    if len(heavy) < 2:
        return []
    named = ", ".join(f"{name} {weight.megabytes:,.0f} MB, {weight.seconds:.1f} s to load" for name, weight in heavy)
    places = " ".join(f"[nodes.{name}] port = {8101 + number}" for number, (name, _) in enumerate(heavy))
    return [
        Finding(
            "all in one",
            f"service {service.name!r}",
            f"one process holds {len(heavy)} heavy models: {named}; every worker holds all of them, and one that runs "
            "out of memory takes the others along",
            f"give each a process of its own: in hansang.toml {places}, then `hansang up {target}`",
        )
    ]


def offline_only(service: Service, settings: Settings) -> list[Finding]:
    """Look for registered models that replaced another without shadow or A/B evidence in the record."""
    found = []
    for model in service.models:
        reference = parse(str(model.source)) if not callable(model.source) else None
        artifact = model.loaded.artifact
        if reference is None or artifact is None or not artifact.version.isdecimal() or int(artifact.version) < 2:
            continue
        if not tried(settings.records, artifact.name, artifact.version):
            found.append(
                Finding(
                    "offline only",
                    f"model {artifact.name} version {artifact.version}",
                    f"it answers as {', '.join(artifact.aliases) or 'the pinned version'}, and the record in "
                    f"{settings.records} has no row in which it was a shadow or one side of a split: it was judged on "
                    "offline data alone",
                    f"shadow(Model('models:/{artifact.name}'), Model('models:/{artifact.name}/<next>')) or split(…) "
                    "before the alias moves, then compare the pairs in the record",
                )
            )
    return found
