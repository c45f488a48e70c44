"""The part of the page that shows quality: metrics with intervals, over time, by version and slice, and the worst."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hansang.reports.chart import Plot, figure, legend, scale, short, times
from hansang.reports.make import Report
from hansang.reports.markup import body_text, chance, count, number, percent, references, safe, table
from hansang.reports.metrics import Judged
from hansang.reports.quality import Group, TargetQuality
from hansang.reports.source import NOW
from hansang.reports.statistics import wilson

WEEK = 7 * 86400
MOST_CLASSES = 12


def quality_section(report: Report) -> Iterator[str]:
    """Draw the quality of every target."""
    quality = report.quality
    yield "<h2 id=quality>Quality, where the truth is known</h2>"
    told = [f"{count(known)} of {count(rows)}" for known, rows in zip(quality.told, quality.answered, strict=True)]
    yield f"<p class=soft>Truth is known of {told[1]} answers of the window and of {told[0]} of the reference.</p>"
    if quality.note:
        yield f"<p>{safe(quality.note).capitalize()}.</p>"
    for target in quality.targets:
        if len(quality.targets) > 1:
            yield f"<h3>{safe(target.target.name)}</h3>"
        yield from target_section(report, target)


def target_section(report: Report, target: TargetQuality) -> Iterator[str]:
    """Draw one target."""
    everything = target.groups[0]
    plots = [over_time(report, target)]
    if target.scatter and target.target.task == "regression":
        plots.append(scatter(target))
    if target.calibration:
        plots.append(calibration(target))
    yield f"<div class=plots>{''.join(plots)}</div>"
    yield metric_table(everything)
    groups = [group for group in target.groups[1:] if group.now or group.before]
    if groups:
        yield f"<h3>{safe(target.loss)} by version and slice</h3>"
        yield legend(("before", "reference"), ("now", "window"))
        yield group_table(report, target, groups)
    if target.confusion:
        yield "<h3>Truth and prediction</h3>"
        yield confusion(target)
    yield from pairs(target)
    yield from worst(target)


def metric_table(group: Group) -> str:
    """Give all metrics of all rows, now and before."""
    judged = group.now or group.before
    names = list(judged.metrics) if judged else []
    rows = [[safe(name), ranged(group.now, name), ranged(group.before, name)] for name in names]
    rows.append(["pairs", count(group.now.rows if group.now else 0), count(group.before.rows if group.before else 0)])
    return table(["metric, with its 95 % interval", "now", "before"], rows, numbers=(1, 2))


def ranged(judged: Judged | None, name: str) -> str:
    """Write a metric with its interval."""
    if judged is None or name not in judged.metrics:
        return "–"
    value, low, high = judged.metrics[name]
    if not judged.enough:
        return f"{number(value)} <small>not enough rows</small>"
    return f"{number(value)} <small>{number(low)} to {number(high)}</small>"


def group_table(report: Report, target: TargetQuality, groups: list[Group]) -> str:
    """Give a line for each version and slice, with its intervals drawn on one scale."""
    bad = [place for place, group in enumerate(groups) if is_worse(report, target, group)]
    loss = [interval_of(each) for group in groups for each in (group.now, group.before) if each]
    ends = [end for interval in loss for end in interval if math.isfinite(end)]
    span = (min([0.0, *ends]), max([*ends, 1e-9]) * 1.03)
    rows = []
    for group in groups:
        grown = group.worse_by
        rows.append(
            [
                f"<span class=remark>{safe(group.dimension)}</span> {safe(group.name)}",
                count(group.now.rows if group.now else 0),
                forest(group, span),
                loss_words(group.now),
                loss_words(group.before),
                f"{grown:+.0%}" if grown is not None and group.p is not None else "–",
                chance(group.adjusted) if group.adjusted is not None else "–",
            ]
        )
    head = ["group", "pairs now", f"0 to {short(span[1])}", "now", "before", "change", "p"]
    return table(head, rows, numbers=(1, 3, 4, 5, 6), bad=bad)


def is_worse(report: Report, target: TargetQuality, group: Group) -> bool:
    """Say whether a group is among the findings."""
    subject = group.subject(target.target)
    return any(each.kind == "quality" and each.subject == subject for each in report.verdict.findings)


def interval_of(judged: Judged) -> tuple[float, float, float]:
    """Give the loss of a group and its interval."""
    return next(values for values in judged.metrics.values() if values[0] == judged.loss or math.isnan(judged.loss))


def loss_words(judged: Judged | None) -> str:
    """Write the loss of a group."""
    if judged is None:
        return "–"
    return number(judged.loss) if judged.enough else f"<small>{judged.rows} rows: not enough</small>"


def forest(group: Group, span: tuple[float, float]) -> str:
    """Draw the intervals of a group, now above before."""
    plot = Plot(span, (0, 1), width=200, height=26, left=3, right=3, top=0, bottom=0)
    for each, height, style in ((group.before, 0.28, "before"), (group.now, 0.72, "now")):
        if each is None or not each.enough:
            continue
        value, low, high = interval_of(each)
        plot.line([(max(low, span[0]), height), (min(high, span[1]), height)], style)
        plot.dot(value, height, style, f"{number(value)}, {number(low)} to {number(high)}", 3.6)
    return plot.svg("intervals now and before", "bullet").replace(
        'class="bullet"', 'class="spark" style="width:200px;height:26px"'
    )


def over_time(report: Report, target: TargetQuality) -> str:
    """Draw the loss by day, and by week as a line, through the reference and the window."""
    name = "accuracy" if target.target.task == "labels" else target.loss
    days = [(noon(row, 43200), row[name], row) for row in target.pairs["day"]]
    weeks = [(noon(row, WEEK / 2), row[name], row) for row in target.pairs["week"]]
    start, end = min(at for at, *_ in days) - 43200, max(at for at, *_ in days) + 43200
    values = [value for _, value, _ in (*days, *weeks)]
    low = min(0.0, *values) if target.target.task != "labels" else max(0.0, min(values) - 0.05)
    plot = Plot((start, end), (low, max(values) * 1.08 if target.target.task != "labels" else 1.0))
    plot.axes(f"{name} by day", "UTC", times(start, end))
    if any(row["part"] != NOW for *_, row in days):
        plot.upright(report.window.start, "window")
    for part, style in (("before", "before"), (NOW, "now")):
        mine = [(min(max(at, start), end), value) for at, value, row in weeks if row["part"] == part]
        plot.line(mine, style)
        for at, value, row in days:
            if row["part"] == part:
                plot.dot(at, value, style, f"{row['start']}: {number(value)}, {row['pairs']:,} pairs", 2.6)
    key = legend(("before", "reference"), ("now", "window"))
    return figure(f"{name} over time", plot.svg(f"{name} by day and by week"), "Dots are days, lines are weeks.", key)


def noon(row: dict[str, Any], after: float) -> float:
    """Give the middle of a row's day or week, in seconds since the epoch."""
    day = row["start"]
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + after


def scatter(target: TargetQuality) -> str:
    """Draw predictions against truths."""
    every = [value for pair in target.scatter for value in pair]
    low, high = min(every), max(every)
    room = (high - low) * 0.03 or 1.0
    plot = Plot((low - room, high + room), (low - room, high + room), height=300)
    plot.axes("truth", "prediction", [(value, short(value)) for value in scale(*plot.x)])
    plot.line([(low, low), (high, high)], "ideal")
    for predicted, truth in target.scatter:
        plot.dot(predicted, truth, "cloud", f"predicted {number(predicted)}, true {number(truth)}", 3.2)
    remark = f"{len(target.scatter):,} pairs of the window by chance; on the dashed line a prediction is right."
    return figure("Prediction and truth", plot.svg("Predictions against truths"), remark)


def calibration(target: TargetQuality) -> str:
    """Draw how often the truth is yes for each tenth of the predicted probability."""
    plot = Plot((0, 1), (0, 1), height=300)
    plot.axes("share of yes in truth", "predicted probability", [(value, short(value)) for value in scale(0, 1)])
    plot.line([(0, 0), (1, 1)], "ideal")
    plot.line([(predicted, truth) for predicted, truth, _ in target.calibration], "now")
    for predicted, truth, rows in target.calibration:
        plot.dot(predicted, truth, "now", f"{rows:,} rows: predicted {predicted:.3f}, true {truth:.3f}", 3.5)
    return figure("Calibration", plot.svg("Calibration"), "On the dashed line, probabilities are what they say.")


def confusion(target: TargetQuality) -> str:
    """Give the confusion matrix of the window with recall and precision of every class."""
    totals: dict[str, int] = {}
    for truth, predicted, rows in target.confusion:
        totals[truth] = totals.get(truth, 0) + rows
        totals.setdefault(predicted, 0)
    names = sorted(totals, key=lambda name: -totals[name])[:MOST_CLASSES]
    cells = {(truth, predicted): rows for truth, predicted, rows in target.confusion}
    lines = []
    for truth in names:
        right, rows = cells.get((truth, truth), 0), totals[truth]
        said = sum(each for (_, predicted), each in cells.items() if predicted == truth)
        lines.append(
            [
                safe(truth),
                *(shade(cells.get((truth, each), 0), rows, right=each == truth) for each in names),
                share_words(right, rows),
                share_words(right, said),
            ]
        )
    head = ["truth ↓ said →", *map(safe, names), "recall", "precision"]
    return table(head, lines, numbers=range(1, len(names) + 3))


def shade(rows: int, of: int, *, right: bool) -> str:
    """Give a cell of the matrix."""
    share = rows / of if of else 0.0
    color = "var(--good)" if right else "var(--bad)"
    back = f"background:color-mix(in srgb,{color} {share * 45:.0f}%,transparent)"
    return f'<span style="display:block;padding:1px 6px;border-radius:4px;{back}">{rows:,}</span>'


def share_words(hits: int, rows: int) -> str:
    """Write a share of rows with its 95 % interval."""
    if not rows:
        return "–"
    low, high = wilson(hits, rows)
    return f"{percent(hits / rows)} <small>{percent(low)} to {percent(high)}</small>"


def pairs(target: TargetQuality) -> Iterator[str]:
    """Give the pairs of prediction and truth by week and by day as tables that open."""
    names = [name for name in target.pairs["week"][0] if name not in ("start", "part")] if target.pairs["week"] else []
    for unit in ("week", "day"):
        rows = [
            [f"<span class=keep>{row['start']}</span>", "now" if row["part"] == NOW else "before"]
            + [count(row[name]) if name == "pairs" else number(row[name]) for name in names]
            for row in target.pairs[unit]
        ]
        head = [unit, "", *(f"mean {name}" if name in ("predicted", "truth") else name for name in names)]
        inner = table(head, rows, numbers=range(2, len(names) + 2))
        opened = " open" if unit == "week" and len(rows) <= 12 else ""
        yield f"<details{opened}><summary>Pairs by {unit}</summary>{inner}</details>"


def worst(target: TargetQuality) -> Iterator[str]:
    """Give the worst predictions with what was asked and answered."""
    if not target.worst:
        return
    title = "The newest wrong answers" if target.target.task == "labels" else "The worst errors of the window"
    yield f"<h3>{title}</h3>"
    for place, row in enumerate(target.worst):
        said, true = (
            (number(row[side]) if isinstance(row[side], float) else safe(row[side])) for side in ("predicted", "truth")
        )
        where = f"{row['id']}/{row['row']}" if row["row"] else row["id"]
        kept = "".join(f"<p class=remark>payload <code>{safe(each)}</code></p>" for each in references(row["input"]))
        yield (
            f"<details{' open' if place == 0 else ''}><summary>said <b>{said}</b>, true <b>{true}</b> · "
            f"{row['time']:%Y-%m-%d %H:%M} · version {safe(row['version'] or '–')}</summary><div class=bodies>"
            f"<div><h4>input</h4>{body_text(row['input'])}{kept}</div><div><h4>output</h4>{body_text(row['output'])}"
            f"<p class=remark>hansang records show <code>{safe(where)}</code></p></div></div></details>"
        )
