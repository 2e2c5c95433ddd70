"""Two evaluations of the same benchmark, compared case by case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepperception.artifacts.evaluations import Paired, paired
from deepperception.statistics import mcnemar_exact, paired_bootstrap

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class SplitComparison:
    """Accuracies are fractions; `gain` is B minus A with its 95 % bootstrap interval; `p` is McNemar's, two-sided."""

    cases: int
    accuracy_a: float
    accuracy_b: float
    gain: float
    gain_ci95: tuple[float, float]
    only_a: int
    only_b: int
    p: float


def compare(a: Path, b: Path, *, seed: int = 0, anyway: bool = False) -> dict[str, SplitComparison]:
    """Evaluation folders A and B, by split ("all", "seen", "unseen"; those with cases), on the official scores.

    InputError where they were not measured alike (another benchmark file, engine, version, number format or decoding),
    unless `anyway`; and where they do not answer the same questions.
    """
    pairs = paired(a, b, anyway=anyway)
    splits = {"all": pairs, "seen": pairs.where(seen=True), "unseen": pairs.where(seen=False)}
    return {name: _compared(split, seed) for name, split in splits.items() if len(split)}


def comparison_table(comparison: Mapping[str, SplitComparison], *, label_a: str, label_b: str) -> Table:
    """What `deepperception compare` prints."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"A = {label_a}\nB = {label_b}\nright in %, B - A with its 95 % interval, p by McNemar's exact test"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("", "cases", "A", "B", "B - A", "only A", "only B", "p"):
        table.add_column(heading, justify="left" if not heading else "right")
    for split, row in comparison.items():
        low, high = row.gain_ci95
        table.add_row(
            split,
            str(row.cases),
            f"{100 * row.accuracy_a:.1f}",
            f"{100 * row.accuracy_b:.1f}",
            f"{100 * row.gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
            str(row.only_a),
            str(row.only_b),
            f"{row.p:.2g}",
        )
    return table


def _compared(pairs: Paired, seed: int) -> SplitComparison:
    only_a, only_b = pairs.only_right
    gain, low, high = paired_bootstrap(pairs.right_b, pairs.right_a, seed=seed)
    return SplitComparison(
        cases=len(pairs),
        accuracy_a=sum(pairs.right_a) / len(pairs),
        accuracy_b=sum(pairs.right_b) / len(pairs),
        gain=gain,
        gain_ci95=(low, high),
        only_a=only_a,
        only_b=only_b,
        p=mcnemar_exact(only_a, only_b),
    )
