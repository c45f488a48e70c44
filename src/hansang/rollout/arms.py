"""The two arms of a running experiment, read from the record: one row an arm for each request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from hansang.errors import RecordError, UsageError
from hansang.record.moments import Moment, read_moment
from hansang.record.read import connect
from hansang.record.views import quoted
from hansang.rollout.arm import Arm
from hansang.rollout.metric import Metric

CHAMPION, CHALLENGER = "champion", "challenger"
ANSWER = ("status", "error", "latency_ms", "queue_ms", "batch_rows", "cached", "output", "output_value")
ROW = ("key", "input", "tags", "truth", "truth_value", "score")
COLUMNS = ("id", "row", "time", "unit", "arm", *ANSWER, *ROW)

SUMS = """
, units AS (
    SELECT arm, unit, count(*)::DOUBLE AS n, sum(value) AS total, sum(value * value) AS squares
    FROM wanted WHERE isfinite(value) GROUP BY arm, unit
)
SELECT arm, count(*)::DOUBLE, sum(n), sum(total), sum(squares), sum(total * total), sum(total * n), sum(n * n)
FROM units GROUP BY arm
"""


@dataclass(frozen=True, slots=True)
class Split:
    """An experiment that a `split` makes: each row is answered by one side, which stands in `variant`.

    `champion` and `challenger` are labels; `weights` are the split's, `name` is its name, by which forced rows are
    known and left out. `unit` is an SQL expression over a row that says what belongs together: what the split assigns
    by. Where it is null a row stands for itself. With `node` only rows that went through a node of this name count.
    """

    champion: str
    challenger: str
    weights: Mapping[str, float] = field(default_factory=dict)
    name: str = "split"
    service: str | None = None
    endpoint: str | None = None
    unit: str = "key"
    node: str | None = None

    @property
    def share(self) -> float | None:
        """The challenger's planned part of the rows of both arms; None when the weights are not known."""
        if not {self.champion, self.challenger} <= set(self.weights):
            return None
        mine, other = self.weights[self.challenger], self.weights[self.champion]
        return mine / (mine + other) if mine > 0 and other > 0 else None

    def query(self, since: float | None, until: float | None) -> str:
        """Write the query for the rows of both arms."""
        labels = {CHAMPION: self.champion, CHALLENGER: self.challenger}
        arm = " ".join(f"WHEN {has('variant', label)} THEN {quoted(name)}" for name, label in labels.items())
        chosen = limited("time", since, until) + matching(service=self.service, endpoint=self.endpoint)
        forced = quoted(f'$."{self.name}.forced"')
        chosen += ["arm IS NOT NULL", f"(tags IS NULL OR json_extract(tags, {forced}) IS NULL)"]
        chosen += [has("node", self.node)] if self.node is not None else []
        sides = ", ".join((*ANSWER, *ROW))
        return f"""
            SELECT id, row, time, {unit_of(self.unit)} AS unit, CASE {arm} END AS arm, {sides}
            FROM outcomes WHERE {" AND ".join(chosen)}
        """


@dataclass(frozen=True, slots=True)
class Shadow:
    """An experiment that a `shadow` makes: both sides answer the same rows, the challenger's answers are not sent.

    What is given narrows it: the versions of both sides, the challenger's model, the shadow's `node`. `unit` is an SQL
    expression over the live row that says which rows belong together, as `date_trunc('hour', time)` where neighbours
    resemble each other. Where it is null a pair stands for itself.
    """

    champion: str | None = None
    challenger: str | None = None
    model: str | None = None
    node: str | None = None
    service: str | None = None
    endpoint: str | None = None
    unit: str = "key"

    def query(self, since: float | None, until: float | None) -> str:
        """Write the query for the rows of both arms, those of complete pairs."""
        chosen = limited("time", since, until) + matching(service=self.service, endpoint=self.endpoint)
        chosen += [has("version", self.champion)] if self.champion is not None else []
        other = [has("version", self.challenger)] if self.challenger is not None else []
        other += [has("model", self.model)] if self.model is not None else []
        other += [f"starts_with(node, {quoted(self.node)})"] if self.node is not None else []
        names, row = ", ".join(ANSWER), ", ".join(ROW)
        live = " AND ".join(chosen) or "true"
        beside = ", ".join(f"shadows.{name}" for name in ANSWER)
        return f"""
            WITH shadows AS (
                SELECT DISTINCT ON (id, row) * FROM predictions
                WHERE {" AND ".join(["role = 'shadow'", *other])} ORDER BY time, node, model, version
            ), sent AS (
                SELECT *, {unit_of(self.unit)} AS unit FROM outcomes WHERE {live}
            )
            SELECT id, row, time, unit, '{CHAMPION}' AS arm, {names}, {row}
            FROM sent SEMI JOIN shadows USING (id, row)
            UNION ALL
            SELECT id, row, sent.time, unit, '{CHALLENGER}', {beside}, {", ".join(f"sent.{name}" for name in ROW)}
            FROM sent JOIN shadows USING (id, row)
        """


@dataclass(slots=True)
class Arms:
    """The rows of both arms as the table `arms` of a DuckDB connection; `COLUMNS` are its columns.

    Make one by `read_arms`, or of any connection that has such a table. `share` is the challenger's planned part,
    `paired` says that both arms have the same rows.
    """

    connection: duckdb.DuckDBPyConnection
    paired: bool
    share: float | None = None

    def sums(self, metric: Metric) -> dict[str, Arm]:
        """Give the sums of a metric by arm, and those of `difference` where the arms are paired.

        Rows without a value are left out, in pairs both rows. Raises `RecordError` when the metric's SQL is wrong.
        """
        if self.paired and not metric.shadow:
            raise UsageError(
                f"metric {metric.name!r} says nothing of a shadow, whose answers nobody got; use it with a split"
            )
        value = f"({metric.value})"
        value = f"CASE WHEN {value} > 0 THEN ln({value}) END" if metric.scale == "ratio" else value
        try:
            rows = self.connection.execute(wanted(value, metric.unit, paired=self.paired) + SUMS).fetchall()
        except duckdb.Error as error:
            raise RecordError(f"metric {metric.name!r}: {error}") from error
        found = {str(arm): Arm(*map(float, sums)) for arm, *sums in rows}
        empty = Arm(*[0.0] * 7)
        names = (CHAMPION, CHALLENGER, "difference") if self.paired else (CHAMPION, CHALLENGER)
        return {name: found.get(name, empty) for name in names}

    def counts(self) -> dict[str, tuple[int, int]]:
        """Give rows and units of each arm; a unit of a split counts for the arm in which it came first."""
        by = "unit, arm" if self.paired else "unit"
        rows = self.connection.execute(f"""
            WITH first AS (SELECT arg_min(arm, (time, id, row)) AS arm FROM arms GROUP BY {by})
            SELECT arm, count(*), (SELECT count(*) FROM first WHERE first.arm = arms.arm) FROM arms GROUP BY arm
        """).fetchall()
        found = {str(arm): (int(count), int(units)) for arm, count, units in rows}
        return {arm: found.get(arm, (0, 0)) for arm in (CHAMPION, CHALLENGER)}

    def crossed(self) -> int:
        """Give how many units are on both sides: none, where a split assigns by them and nobody changes weights."""
        if self.paired:
            return 0
        sql = "SELECT count(*) FROM (SELECT 1 FROM arms GROUP BY unit HAVING count(DISTINCT arm) > 1)"
        return int(self.connection.execute(sql).fetchall()[0][0])


def read_arms(
    record: str | Path | duckdb.DuckDBPyConnection,
    experiment: Split | Shadow,
    since: Moment | None = None,
    until: Moment | None = None,
) -> Arms:
    """Read the arms of an experiment from a record: its folder, or a connection that has the record's views.

    `since` should be the start of the experiment, or of its step: arms of other weights are not to be mixed. Raises
    `RecordError` when there is no record, or when `unit` is not SQL.
    """
    start = None if since is None else read_moment(since)
    end = None if until is None else read_moment(until, "until")
    connection = record if isinstance(record, duckdb.DuckDBPyConnection) else connect(record, start)
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE arms AS {experiment.query(start, end)}")
    except duckdb.Error as error:
        raise RecordError(f"the arms cannot be read: {error}") from error
    if isinstance(experiment, Shadow):
        return Arms(connection, paired=True)
    return Arms(connection, paired=False, share=experiment.share)


def wanted(value: str, unit: str | None, *, paired: bool) -> str:
    """Write the part of a query that gives the values of a metric by arm and unit."""
    together = "unit" if unit is None else f"coalesce(({unit})::VARCHAR, unit)"
    if not paired:
        return f"WITH wanted AS (SELECT arm, {together} AS unit, ({value})::DOUBLE AS value FROM arms)"
    return f"""
        WITH answers AS (SELECT arm, id, row, {together} AS unit, ({value})::DOUBLE AS value FROM arms), pairs AS (
            SELECT unit, max(value) FILTER (arm = '{CHAMPION}') AS one, max(value) FILTER (arm = '{CHALLENGER}') AS two
            FROM answers GROUP BY id, row, unit HAVING isfinite(one) AND isfinite(two)
        ), wanted AS (
            SELECT '{CHAMPION}' AS arm, unit, one AS value FROM pairs
            UNION ALL SELECT '{CHALLENGER}', unit, two FROM pairs
            UNION ALL SELECT 'difference', unit, two - one FROM pairs
        )
    """


def unit_of(expression: str) -> str:
    """Write what a row belongs to; one without it stands for itself."""
    return f"coalesce(({expression})::VARCHAR, id || '/' || row)"


def has(column: str, word: str) -> str:
    """Write the condition that a column, which may hold several words, has this one."""
    return f"list_contains(string_split({column}::VARCHAR, ','), {quoted(word)})"


def limited(column: str, since: float | None, until: float | None) -> list[str]:
    """Write the conditions for a part of time."""
    conditions = [f"{column} >= make_timestamptz({round(since * 1e6)})"] if since is not None else []
    return conditions + ([f"{column} < make_timestamptz({round(until * 1e6)})"] if until is not None else [])


def matching(**words: str | None) -> list[str]:
    """Write the conditions that columns equal what is given."""
    return [f"{name} = {quoted(word)}" for name, word in words.items() if word is not None]
