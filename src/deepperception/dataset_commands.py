"""The commands that make data: `synthesize` and `benchmark`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from deepperception.arguments import PATH, context_of, takes_recipe, tell
from deepperception.recipe import Recipe

_GAIN, _DISAGREEMENT = 0.05, 0.2


@click.command()
@takes_recipe
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The dataset folder to write.")
def synthesize(recipe: Recipe, out: Path) -> None:
    """Compose photos into a dataset.

    Reads RECIPE's photos; writes sft, rl, validation and test.parquet and card.json to --out, and contact_sheet.png
    where the questions are for boxes.
    """
    from deepperception.synthesis.run import run as stage

    context = context_of(recipe, "synthesis", "model")
    tell(stage(recipe.synthesis, out, context, box_step=recipe.model.box_step), out)


@click.command()
@takes_recipe
@click.option("--unseen", metavar="A,B,C", help="Categories held out of train.parquet; the others are seen.")
@click.option("--unseen-entities", metavar="A,B,C", help="Entities held out of it, in categories that are seen.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The benchmark folder to write.")
def benchmark(recipe: Recipe, unseen: str | None, unseen_entities: str | None, out: Path) -> None:
    """Make a benchmark of your own photos.

    Split by photo and category before they are composed; no teacher is asked and nothing trained. Reads RECIPE's photos
    (synthesis.source, or --source); writes train, validation and test.parquet in KVG-Bench's columns, card.json and
    contact_sheet.png to --out, and says how small a gain the benchmark can show.
    """
    from deepperception.synthesis.benchmark import run as stage
    from deepperception.synthesis.benchmark import seen_without

    settings: dict[str, Any] = {}
    if unseen is not None:
        settings["seen"] = seen_without(_names(unseen), recipe.synthesis, recipe.seed)
    if unseen_entities is not None:
        settings["unseen_entities"] = _names(unseen_entities)
    synthesis = recipe.synthesis.model_copy(update=settings)
    recipe = recipe.model_copy(update={"synthesis": synthesis})
    tell(stage(synthesis, out, context_of(recipe, "synthesis")), out)
    click.echo("\n".join(_told(json.loads((out / "card.json").read_text(encoding="utf-8")))))


def _told(card: dict[str, Any]) -> list[str]:
    """What a user should know of a benchmark before trusting a score on it."""
    from deepperception.statistics import cases_needed

    lines = []
    for split, counts in card["files"].items():
        parts = ", ".join(f"{name} {rows}" for name, rows in counts["categories"].items())
        lines.append(
            f"{split}: {counts['rows']} cases ({counts['seen']} seen, {counts['unseen']} unseen) about "
            f"{counts['photos_asked_for']} photos: {parts}"
        )
    for reason, found in card["left_out"].items():
        lines.append(f"left out, {reason}: {found['count']} ({', '.join(found['examples'])})")
    for split, gains in card["smallest_gain"].items():
        shown = ", ".join(
            f"{'none' if gain is None else f'{100 * gain:.1f} points'} ({100 * float(share):.0f} %)"
            for share, gain in gains.items()
        )
        lines.append(f"smallest gain that {split} shows, by how often just one of two models is right: {shown}")
    needed = cases_needed(_GAIN, _DISAGREEMENT)
    lines.append(f"to show {100 * _GAIN:g} points takes {needed} cases where that is {100 * _DISAGREEMENT:g} %")
    return lines


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
