"""Replay offline: recorded input through the scoring path, and its answers beside the recorded ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from hansang.batch import Batch
from hansang.codec import Codec
from hansang.errors import Problem
from hansang.graph import settle
from hansang.models.signature import OUTPUT
from hansang.replay.altered import altered_fields
from hansang.replay.candidate import Candidate, find_candidate
from hansang.replay.compare import Comparison, Pair, pair_of
from hansang.replay.fields import Tolerance
from hansang.replay.flat import Flat, flat
from hansang.replay.options import Choice
from hansang.replay.recorded import Selection, Taken, endpoint_of, moments, open_record, take
from hansang.replay.rows import RowsFile
from hansang.replay.sketch import Sketch
from hansang.scoring import Summary, score
from hansang.scoring.scorer import Scorer, codec_of
from hansang.settings import Settings, load_settings

STEP = 8192  # pairs that are compared at once
PROBED = 200  # rows that are answered one by one for the latency
PROBE_SECONDS = 3.0
TAKEN = ("row", "source", "error")  # names that scoring needs itself: fields of an answer get a prefix


class Options(Choice, total=False):
    """The options of `replay`.

    `instead` is the other version (`--with`). `processes` and `settings` are those of `score`.
    """

    instead: str
    processes: int | None
    settings: Settings | None


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found; `alone` is the time to answer one row by itself in this process, in milliseconds."""

    service: str
    endpoint: str
    answered_by: str
    taken: Taken
    comparison: Comparison
    models: Mapping[str, str]
    seconds: float
    processes: int
    alone: Sketch

    def document(self) -> dict[str, Any]:
        """Give plain values."""
        taken = self.taken
        return {
            "service": self.service,
            "endpoint": self.endpoint,
            "answered_by": self.answered_by,
            "models": dict(self.models),
            "recorded_versions": dict(taken.versions.most_common()),
            "first": taken.first,
            "last": taken.last,
            "replayed": taken.rows,
            "not_replayed": dict(taken.left.most_common()),
            **self.comparison.document(),
            "one_row_ms": self.alone.quantiles(0.5, 0.95, 0.99),
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(taken.rows / max(self.seconds, 1e-9), 1),
            "processes": self.processes,
        }


def replay(service: str, folder: str | Path = ".hansang/records", **options: Unpack[Options]) -> Replay:
    """Ask another version what it says to the recorded input of a service, and compare.

    `service` is a target, or a service's name in the record. The rows go through the graph and the validation of the
    endpoint, as in `score`; nothing is written into a record. Live rows only; those whose input the record does not
    hold as it came are counted by reason and left out. Disk space is needed for the inputs and answers of the span.

    Raises `UsageError` for what is wrong before the run, `RecordError` where the record has no such rows.
    """
    started = time.perf_counter()
    settings = options.get("settings") or load_settings(Settings)
    start, end = moments(options.get("since"), options.get("until"))
    candidate, accept = find_candidate(service, options.get("instead", "")), options.get("accept", ())
    with TemporaryDirectory(prefix="hansang-replay-") as place, ExitStack() as stack:
        scratch = Path(place)
        path = options.get("rows")
        rows = None if path is None else stack.enter_context(RowsFile(path))
        with open_record(Path(folder), start, end, scratch) as connection:
            chosen = Selection(Path(folder), candidate.name, options.get("endpoint") or "", start, end)
            name = endpoint_of(connection, chosen, [each.name for each in candidate.service.endpoints])
            candidate.service.load(settings)
            codec = codec_of(candidate.endpoint(name))
            altered = altered_fields(codec.schema, codec.schema, settings.policies, accept)
            some = (options.get("version"), options.get("limit"), altered, accept)
            selection = Selection(Path(folder), candidate.name, name, start, end, *some)
            taken = take(connection, selection, scratch / "input.jsonl", scratch / "recorded.parquet")
        comparison = Comparison(options.get("tolerance", Tolerance()), hidden_fields(codec, settings))
        probe = Probe(scratch / "input.jsonl")
        summary = answered(candidate, name, scratch, settings, options, probe) if taken.rows else None
        if summary is not None:
            compare(scratch, comparison, rows)
    models = summary.models if summary is not None else {}
    processes = summary.processes if summary is not None else 0
    by = " with ".join(part for part in (candidate.target, candidate.instead) if part)
    took = time.perf_counter() - started
    return Replay(candidate.name, name, by, taken, comparison, models, took, processes, probe.times)


def hidden_fields(codec: Codec, settings: Settings) -> dict[str, str]:
    """Name the fields of the answers that the record does not hold as they were sent."""
    if codec.output is None:
        return settings.policies
    schema = codec.output.json_schema(mode="serialization")
    return altered_fields(schema, schema, settings.policies)


def answered(
    candidate: Candidate, name: str, scratch: Path, settings: Settings, options: Options, probe: Probe
) -> Summary:
    """Score the inputs that were taken."""
    return score(
        candidate.service,
        [scratch / "input.jsonl"],
        scratch / "answers.parquet",
        endpoint=candidate.endpoint(name).path,
        processes=options.get("processes"),
        keep="none",
        target=candidate.target,
        instead=candidate.instead,
        settings=settings,
        report=options.get("report"),
        after=probe,
    )


class Probe:
    """Answers some rows one by one, as a lone request would be: validation, graph and writing, without HTTP."""

    def __init__(self, lines: Path) -> None:
        self.lines = lines
        self.times = Sketch()

    async def __call__(self, scorer: Scorer) -> None:
        """Measure with a service that runs; rows that do not fit are left out."""
        took: list[float] = []
        with self.lines.open("rb") as file:
            until = time.perf_counter() + PROBE_SECONDS
            for line in islice(file, PROBED):
                started = time.perf_counter()
                if started > until:
                    break
                try:
                    answer = await settle(scorer.endpoint.bound, Batch([scorer.codec.one(line)]))
                    if not answer.failed:
                        scorer.codec.encode(answer.rows[0])
                except (Problem, ValueError):
                    continue
                took.append((time.perf_counter() - started) * 1e3)
        self.times.add(np.array(took[1:], float))  # the first call is not like the others


def compare(scratch: Path, comparison: Comparison, rows: RowsFile | None) -> None:
    """Put the new answers beside the recorded ones: both files have the same rows in the same order."""
    recorded, answers = (in_steps(scratch / name) for name in ("recorded.parquet", "answers.parquet"))
    for old, new in zip(recorded, answers, strict=True):
        pairs = list(pairs_of(old, new))
        changed = comparison.add(pairs)
        if rows is not None:
            rows.write(pairs, changed)


def in_steps(path: Path) -> Iterator[pa.Table]:
    """Read a Parquet file in steps of one size, whatever its row groups are."""
    held: list[pa.Table] = []
    count = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=STEP):
            held.append(pa.Table.from_batches([batch]))
            count += batch.num_rows
            if count >= STEP:
                whole = pa.concat_tables(held)
                yield whole.slice(0, STEP)
                held, count = [whole.slice(STEP)], count - STEP
    if count:
        yield pa.concat_tables(held)


def pairs_of(old: pa.Table, new: pa.Table) -> Iterator[Pair]:
    """Make pairs of recorded rows and the rows that scoring gave."""
    renamed = {f"output.{name}": name for name in TAKEN}
    names = {name: renamed.get(name, name) for name in new.column_names if name not in TAKEN}
    texts = {name for name in names if pa.types.is_string(new.schema.field(name).type)}
    fields = new.select(list(names)).to_pylist() if names else [{}] * new.num_rows
    for row, error, values in zip(old.to_pylist(), new["error"].to_pylist(), fields, strict=True):
        pair = pair_of(row)
        pair.new_error = error
        pair.new = answer_of(values, names, texts, pair.old) if error is None else None
        yield pair


def answer_of(values: Mapping[str, Any], names: Mapping[str, str], texts: set[str], before: Flat | None) -> Flat:
    """Give the leaves of a new answer; a column without one type holds JSON texts, which the recorded side tells."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        is_json = name in texts and value is not None and not isinstance((before or {}).get(names[name]), str)
        found[names[name]] = loaded(value) if is_json else value
    return flat(found if set(found) != {OUTPUT} else found[OUTPUT])


def loaded(text: str) -> Any:
    """Read a text that may be JSON."""
    try:
        return from_json(text)
    except ValueError:
        return text
