"""Plots as SVG inside a page: one frame with axes, and the marks that go into it; colours come from the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

DAY = 86400
STEPS = (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY)
MOST_TICKS = 8


@dataclass(slots=True)
class Plot:
    """A frame from `x` to `y` in the units of the data; marks are drawn in the order in which they are added."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 520.0
    height: float = 220.0
    left: float = 52.0
    bottom: float = 34.0
    top: float = 24.0
    right: float = 12.0
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Give where a point of the data is in the picture."""
        low, high = self.x
        least, most = self.y
        across = (x - low) / ((high - low) or 1.0) * (self.width - self.left - self.right)
        up = (y - least) / ((most - least) or 1.0) * (self.height - self.top - self.bottom)
        return self.left + across, self.height - self.bottom - up

    def axes(self, label: str, below: str = "", ticks: Iterable[tuple[float, str]] = ()) -> None:
        """Draw the axes: the scale of `y` with its label above, and the given ticks of `x` with a label below."""
        for value in scale(*self.y):
            _, y = self.at(0, value)
            self.parts.append(f'<path class="grid" d="M{n(self.left)} {n(y)}H{n(self.width - self.right)}"/>')
            self.text(self.left - 6, y + 4, short(value), "end")
        for value, words in ticks:
            x, _ = self.at(value, 0)
            self.parts.append(f'<path class="tick" d="M{n(x)} {n(self.height - self.bottom)}v4"/>')
            self.text(x, self.height - self.bottom + 16, words, "middle")
        self.text(4, 13, label, style="name")
        if below:
            self.text(self.width - self.right, self.height - 4, below, "end", "name")

    def text(self, x: float, y: float, words: str, anchor: str = "start", style: str = "") -> None:
        """Write a few words."""
        kind = f' class="{style}"' if style else ""
        self.parts.append(f'<text x="{n(x)}" y="{n(y)}" text-anchor="{anchor}"{kind}>{escape(words)}</text>')

    def line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """Draw a line through points; a point that is not finite breaks it."""
        way, pen = [], "M"
        for x, y in points:
            if not math.isfinite(y):
                pen = "M"
                continue
            px, py = self.at(x, y)
            way.append(f"{pen}{n(px)} {n(py)}")
            pen = "L"
        if way:
            self.parts.append(f'<path class="line {style}" d="{"".join(way)}"/>')

    def dot(self, x: float, y: float, style: str, told: str = "", size: float = 3.0) -> None:
        """Draw a dot; what it is is told when it is pointed at."""
        px, py = self.at(x, y)
        tip = f"<title>{escape(told)}</title>" if told else ""
        self.parts.append(f'<circle class="dot {style}" cx="{n(px)}" cy="{n(py)}" r="{n(size)}">{tip}</circle>')

    def box(self, x: tuple[float, float], y: tuple[float, float], style: str, told: str = "") -> None:
        """Draw a rectangle between two corners."""
        left, top = self.at(x[0], y[1])
        right, bottom = self.at(x[1], y[0])
        tip = f"<title>{escape(told)}</title>" if told else ""
        place = f'x="{n(left)}" y="{n(top)}" width="{n(max(right - left, 0.5))}" height="{n(max(bottom - top, 0.0))}"'
        self.parts.append(f'<rect class="fill {style}" {place}>{tip}</rect>')

    def upright(self, x: float, words: str) -> None:
        """Mark a place on the axis by a line from top to bottom."""
        px, _ = self.at(x, 0)
        self.parts.append(f'<path class="mark" d="M{n(px)} {n(self.top)}V{n(self.height - self.bottom)}"/>')
        self.text(px + 4, self.top + 9, words, style="name")

    def svg(self, told: str, style: str = "plot") -> str:
        """Give the picture; `told` says what it shows to whoever cannot see it."""
        size = f'viewBox="0 0 {n(self.width)} {n(self.height)}"'
        return f'<svg class="{style}" {size} role="img" aria-label="{escape(told)}">{"".join(self.parts)}</svg>'


def scale(low: float, high: float, most: int = 5) -> list[float]:
    """Give round numbers between two values (Heckbert 1990, nice numbers for graph labels)."""
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return []
    raw = (high - low) / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * each for each in (1, 2, 5, 10) if size * each >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def times(low: float, high: float) -> list[tuple[float, str]]:
    """Give the ticks of an axis of time, in UTC."""
    step = next((step for step in STEPS if (high - low) / step <= MOST_TICKS), STEPS[-1])
    form = "%H:%M" if step < DAY else "%-d %b"
    first = math.ceil(low / step) * step
    return [(at, datetime.fromtimestamp(at, UTC).strftime(form)) for at in range(int(first), int(high) + 1, step)]


def short(value: float) -> str:
    """Write a number of a scale."""
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (limit if letter != 'k' else 1e3):.4g}{letter}"
    return f"{value:.4g}"


def n(value: float) -> str:
    """Write a coordinate."""
    return f"{value:.1f}".removesuffix(".0")


def legend(*entries: tuple[str, str]) -> str:
    """Give the legend of a plot: for each style a swatch and what it stands for."""
    items = "".join(f'<span><i class="swatch {style}"></i>{escape(words)}</span>' for style, words in entries)
    return f'<p class="legend">{items}</p>'


def figure(title: str, picture: str, words: str = "", key: str = "") -> str:
    """Give a plot with its title, its legend and a remark."""
    remark = f"<p class=remark>{escape(words)}</p>" if words else ""
    return f"<figure><figcaption>{escape(title)}</figcaption>{key}{picture}{remark}</figure>"
