"""The table of the recipe: one row a model, one column a split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

TITLE = "Accuracy at IoU ≥ 0.5 (95 % interval)"
LETTERS_TITLE = "Right letters (95 % interval; chance is 25 %)"
SPLITS = ("seen", "unseen", "all")


def render_table(rows: Mapping[str, Mapping[str, Any]], *, title: str = TITLE) -> Table:
    """A rich table. `rows`: model label -> its metrics.json, of which the official scores are shown."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("model", overflow="fold")
    for split in SPLITS:
        table.add_column(f"{split} ({_cases(rows, split)})", justify="right")
    for label, metrics in rows.items():
        table.add_row(label, *(percent(metrics["official"][split]) for split in SPLITS))
    return table


def percent(score: Mapping[str, Any]) -> str:
    """`71.0 % (66.4-75.2)`, or a dash where the split has no case."""
    if not score["cases"]:
        return "-"
    low, high = score["accuracy_ci95"]
    return f"{100 * score['accuracy']:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def _cases(rows: Mapping[str, Mapping[str, Any]], split: str) -> str:
    counts = sorted({metrics["official"][split]["cases"] for metrics in rows.values()})
    return "/".join(map(str, counts)) + " cases"
