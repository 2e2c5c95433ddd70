"""What others printed about KVG-Bench, to be shown beside a measured score and never taken for one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from deepperception.settings import Settings, load

if TYPE_CHECKING:
    from rich.table import Table

TITLE = "Published on {benchmark}, not measured here (accuracy at IoU ≥ 0.5)"


class PublishedRow(Settings):
    """One model's row of a paper's table."""

    model: str
    source: str = Field(description="Versions of arXiv 2503.12797 that print it.")
    percent: tuple[float, ...] = Field(description="Each category, then seen, unseen, all.")
    caveat: str | None = None

    @property
    def overall(self) -> dict[str, float]:
        """In percent, by split."""
        return dict(zip(("seen", "unseen", "all"), self.percent[-3:], strict=True))


class Published(Settings):
    """Published rows about one benchmark."""

    benchmark: str
    cases: dict[str, int] = Field(description="By category.")
    seen: tuple[str, ...]
    rows: tuple[PublishedRow, ...]

    @model_validator(mode="after")
    def _rows_are_whole(self) -> Self:
        for row in self.rows:
            if len(row.percent) != len(self.cases) + 3:
                raise ValueError(f"the row of {row.model} has {len(row.percent)} figures, not {len(self.cases) + 3}")
        return self

    def by_category(self, row: PublishedRow) -> dict[str, float]:
        """In percent."""
        return dict(zip(self.cases, row.percent[: len(self.cases)], strict=True))


@functools.cache
def published() -> Published:
    """The rows that ship with the project."""
    return load(Path(__file__).with_name("published.yaml"), Published)


def published_for(metrics: Mapping[str, Any]) -> Published | None:
    """The published rows, where `metrics` (of metrics.json) is about their benchmark: the same cases by category."""
    measured = {name: score["cases"] for name, score in metrics["official"]["categories"].items()}
    return published() if measured == published().cases else None


def published_table(rows: Published) -> Table:
    """A rich table of its own: published and measured figures never share one."""
    from rich.table import Table

    table = Table(title=TITLE.format(benchmark=rows.benchmark), title_justify="left")
    table.add_column("model")
    for split in ("seen", "unseen", "all"):
        table.add_column(split, justify="right")
    table.add_column("arXiv 2503.12797")
    table.add_column("caveat", overflow="fold")
    for row in rows.rows:
        figures = [f"{row.overall[split]:.2f} %" for split in ("seen", "unseen", "all")]
        table.add_row(row.model, *figures, row.source, row.caveat or "")
    return table
