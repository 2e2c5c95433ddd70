"""The table that ends a run in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deepperception.evaluation.table import SPLITS, percent, render_table
from deepperception.infra import Infra
from deepperception.platform.stages import ARMS
from deepperception.platform.summary import metrics_by_label, read_over_seeds
from deepperception.recipe import Recipe

if TYPE_CHECKING:
    from rich.table import Table


def results(recipe: Recipe, infra: Infra) -> Table:
    """The models' test accuracies: of the one training, or over the seeds of the settings that a search chose."""
    return _over_seeds(read_over_seeds(infra)) if recipe.search else render_table(metrics_by_label(infra))


def _over_seeds(told: Mapping[str, Any]) -> Table:
    from rich.table import Table

    seeds, stages = ", ".join(map(str, told["seeds"])), told["stages"]
    title = f"Accuracy at IoU ≥ 0.5, mean ± sd over the seeds {seeds} (95 % interval of the mean); {told['label']}"
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    for split in SPLITS:
        table.add_column(f"{split} ({stages['base'][split]['cases']} cases)", justify="right")
    for arm, splits in stages.items():
        table.add_row(ARMS[arm], *(_spread(splits[split]) for split in SPLITS))
    return table


def _spread(score: Mapping[str, Any]) -> str:
    told = percent({**score, "accuracy_ci95": score["ci95"]})
    return told if score["sd"] is None else told.replace(" % ", f" ± {100 * score['sd']:.1f} % ")
