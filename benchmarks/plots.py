"""The pictures of docs/benchmarks.md, as SVG."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

OURS, OTHERS, SECOND = "#c2410c", "#94a3b8", "#0f766e"
STYLE = {
    "svg.hashsalt": "benchmarks",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(results: dict, folder: Path) -> list[tuple[str, str]]:
    """Write the plots for which there are figures; return (file name, what it shows)."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with plt.rc_context(STYLE):
        for name, says, figure in _figures(results):
            figure.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
            plt.close(figure)
            drawn.append((name, says))
    return drawn


def _figures(results: dict):
    online = results.get("online", {})
    for model, title in (("logreg", "logistic regression"), ("forest", "random forest of 100 trees")):
        for name, unit in (("per_second", "requests a second"), ("cpu_us", "CPU µs a request")):
            bars = _bars(online, model, name)
            if len(bars) > 1:
                says = f"{unit}, {title}, 64 connections"
                yield f"{model}-{name.replace('_', '-')}.svg", says, _horizontal(bars, f"{says} (log scale)")
    if rows := results.get("openloop", {}).get("rows"):
        yield "open-loop.svg", "waits under open-loop load, with and without batching", _open_loop(rows)
    if any("memory" in row for row in results.get("offline", {}).get("rows", [])):
        yield "offline-memory.svg", "memory while scoring offline", _memory(results["offline"]["rows"])


def _bars(online: dict, model: str, name: str) -> list[tuple[str, float]]:
    bars = []
    for key, row in online.items():
        run = row.get("runs", {}).get("64")
        if run and row["model"] in {"", model} and run[name]:
            bars.append((key.replace(f"/{model}", "").replace("/", ", "), run[name]))
    return sorted(bars, key=lambda bar: bar[1], reverse=name != "per_second")


def _horizontal(bars: list[tuple[str, float]], title: str):
    figure, axes = plt.subplots(figsize=(8, 0.28 * len(bars) + 0.8))
    names, values = [bar[0] for bar in bars], [bar[1] for bar in bars]
    axes.barh(names, values, color=[OURS if name.startswith("hansang") else OTHERS for name in names])
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 3)
    for place, value in enumerate(values):
        axes.text(value * 1.06, place, f"{value:,.0f}", va="center", fontsize=8)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11)
    axes.margins(y=0.01)
    return figure


def _open_loop(rows: list[dict]):
    figure, axes = plt.subplots(figsize=(8, 3.6))
    for batched, colour, name in ((True, OURS, "batched"), (False, OTHERS, "one row a call")):
        chosen = [row for row in rows if (row["max_batch"] > 1) == batched and "p50_ms" in row]
        rates = [str(row["rate"]) for row in chosen]
        axes.plot(rates, [row["p50_ms"] for row in chosen], "o-", color=colour, label=f"{name}, p50")
        axes.plot(rates, [row["p99_ms"] for row in chosen], "o--", color=colour, label=f"{name}, p99")
    axes.set_yscale("log")
    axes.set_xlabel("requests a second, Poisson arrivals")
    axes.set_ylabel("wait, ms (log scale)")
    axes.legend(frameon=False)
    return figure


def _memory(rows: list[dict]):
    figure, axes = plt.subplots(figsize=(8, 3.2))
    colours = iter((OURS, SECOND, "#7c3aed", "#475569"))
    for row in rows:
        if samples := row.get("memory"):
            times, used = zip(*samples, strict=True)
            axes.plot(times, used, color=next(colours), label=f"{row['model']}, {row['runtime']}")
    axes.set_xlabel("seconds")
    axes.set_ylabel("memory of the process tree, MB")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure
