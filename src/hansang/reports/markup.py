"""Words, numbers and tables of a page; every text from the record is escaped here."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from html import escape
from typing import Any

LONGEST = 4000  # characters of a body that are shown


def safe(words: object) -> str:
    """Write a text so that nothing in it is taken for markup."""
    return escape(str(words))


def count(rows: int) -> str:
    """Write a number of rows."""
    return f"{rows:,}"


def percent(share: float) -> str:
    """Write a share."""
    if share == 0:
        return "0 %"
    return f"{share:.2%}" if share < 0.1 else f"{share:.1%}"


def number(value: float | None) -> str:
    """Write a value with four digits that count."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    return f"{value:,.0f}" if size >= 10_000 else f"{value:,.1f}" if size >= 1000 else f"{value:.4g}"


def chance(p: float) -> str:
    """Write a p-value."""
    return "&lt; 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int] = (), bad: Collection[int] = ()
) -> str:
    """Give a table whose cells are markup; `numbers` are columns set to the right, `bad` rows that stand out."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if place in numbers else ''}>{cell}</{tag}>" for place, cell in enumerate(row)
        )

    body = "".join(
        f"<tr{' class=bad' if place in bad else ''}>{cells('td', row)}</tr>" for place, row in enumerate(rows)
    )
    return f"<div class=wide><table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table></div>"


def body_text(text: str | None) -> str:
    """Write a body of the record, indented where it is JSON."""
    if text is None:
        return "<span class=soft>not recorded</span>"
    try:
        shown = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    except ValueError:
        shown = text
    more = f"\n… {len(shown) - LONGEST:,} characters more" if len(shown) > LONGEST else ""
    return f"<pre>{safe(shown[:LONGEST] + more)}</pre>"


def references(text: str | None) -> list[str]:
    """Give the payloads that a body refers to: the hashes of what is kept beside the record."""
    try:
        return list(dict.fromkeys(hashes(json.loads(text or "null"))))
    except ValueError:
        return []


def hashes(value: Any) -> list[str]:
    """Find the hashes in a value."""
    if isinstance(value, dict):
        own = [str(value["sha256"])] if isinstance(value.get("sha256"), str) else []
        return own + [found for inner in value.values() for found in hashes(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in hashes(inner)]
    return []
