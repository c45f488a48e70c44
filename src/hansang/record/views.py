"""The views of a record in SQL, the same for our own connections and for plain DuckDB.

They stand on two relations: `predictions`, and `feedback_rows` with every feedback as it came.
"""

from __future__ import annotations

from pathlib import Path

from hansang.record.segment import FEEDBACK, PREDICTIONS

# A request that is sent again under its Idempotency-Key is there once; the first one counts.
FEEDBACK_ONCE = """
SELECT * FROM feedback_rows WHERE key IS NULL
UNION ALL
SELECT * FROM (
    SELECT DISTINCT ON (id, row, key, truth, score, source) * FROM feedback_rows WHERE key IS NOT NULL
    ORDER BY received
)
"""

# The history: what only repeats what stands already is left out.
FEEDBACK_VIEW = """
SELECT * FROM feedback_once
WINDOW history AS (PARTITION BY id, row ORDER BY time, received)
QUALIFY row_number() OVER history = 1 OR truth IS DISTINCT FROM lag(truth) OVER history
    OR score IS DISTINCT FROM lag(score) OVER history OR source IS DISTINCT FROM lag(source) OVER history
"""

# One row for each live answer; beside it the newest truth, the first shadow's answer, and the one that came later.
OUTCOMES_VIEW = """
WITH latest AS (
    SELECT id, row, arg_max(struct_pack(truth, truth_value, score, source, time), (time, received)) AS newest
    FROM feedback_once GROUP BY id, row
), shadows AS (
    SELECT DISTINCT ON (id, row) * FROM predictions WHERE role = 'shadow' ORDER BY time, node, model, version
), later AS (
    SELECT DISTINCT ON (id, row) * FROM predictions WHERE role = 'staged' ORDER BY time, node, model, version
)
SELECT live.* EXCLUDE (role),
    newest.truth AS truth, newest.truth_value AS truth_value, newest.score AS score,
    newest.source AS truth_source, newest.time AS truth_time,
    shadows.model AS shadow_model, shadows.version AS shadow_version, shadows.variant AS shadow_variant,
    shadows.status AS shadow_status, shadows.error AS shadow_error, shadows.latency_ms AS shadow_latency_ms,
    shadows.output AS shadow_output, shadows.output_value AS shadow_output_value,
    later.model AS staged_model, later.version AS staged_version, later.status AS staged_status,
    later.error AS staged_error, later.output AS staged_output, later.output_value AS staged_output_value
FROM predictions AS live
LEFT JOIN latest ON latest.id = live.id AND latest.row = live.row
LEFT JOIN shadows ON shadows.id = live.id AND shadows.row = live.row
LEFT JOIN later ON later.id = live.id AND later.row = live.row
WHERE live.role = 'live'
"""
# Every answer that was not sent beside the live one.
SIDES = ("node", "model", "version", "variant", "status", "error", "latency_ms", "queue_ms", "output", "output_value")
PAIRS_VIEW = f"""
    SELECT live.id, live.row, live.time, live.service, live.endpoint, live.request_id, live.key, other.role, live.input,
           {", ".join(f"{side}.{name} AS {side}_{name}" for side in ("live", "other") for name in SIDES)},
           live.output IS NOT DISTINCT FROM other.output AND live.status = other.status AS same
    FROM predictions AS live
    JOIN predictions AS other ON live.id = other.id AND live.row = other.row
    WHERE live.role = 'live' AND other.role <> 'live'
"""
VIEWS = {"feedback_once": FEEDBACK_ONCE, FEEDBACK: FEEDBACK_VIEW, "outcomes": OUTCOMES_VIEW, "pairs": PAIRS_VIEW}

HEAD = """\
-- The views of this prediction record for plain DuckDB; written by Hansang.
-- If the folder stands elsewhere for you, change this line:
SET VARIABLE records = {folder};
"""
FILES = """
SET VARIABLE {kind}_files = [getvariable('records') || '/schema/{kind}.parquet']
    || (SELECT coalesce(list(file ORDER BY file), []) FROM glob(getvariable('records') || '/{kind}/*/*.parquet'));
CREATE OR REPLACE TEMP VIEW {name} AS
SELECT {columns} FROM read_parquet(getvariable('{kind}_files'), hive_partitioning = false);
"""


def create_views(columns: dict[str, list[str]], folder: Path) -> str:
    """Give the script that makes the views in plain DuckDB, of the Parquet files alone."""
    parts = [HEAD.format(folder=quoted(str(folder.absolute())))]
    for kind, name in ((PREDICTIONS, "predictions"), (FEEDBACK, "feedback_rows")):
        parts.append(FILES.format(kind=kind, name=name, columns=", ".join(columns[kind])))
    parts += [f"\nCREATE OR REPLACE TEMP VIEW {name} AS{sql.rstrip()};\n" for name, sql in VIEWS.items()]
    return "".join(parts)


def quoted(text: str) -> str:
    """Quote a text for SQL."""
    return "'" + text.replace("'", "''") + "'"
