"""Commands about training data beside `synthesize`: one row again, and what the paper's authors released."""

from __future__ import annotations

import json
from pathlib import Path

import click

from deepperception.arguments import PATH, takes_recipe
from deepperception.progress import Progress
from deepperception.recipe import Recipe


@click.command("remake")
@takes_recipe
@click.option("--file", type=click.Choice(["sft", "rl", "validation", "test"]), required=True, help="Of the dataset.")
@click.option("--row", type=click.IntRange(0), required=True, metavar="N", help="The number in its question_id.")
@click.option("--out", type=PATH, required=True, metavar="FILE", help="The picture to write.")
def remake(recipe: Recipe, file: str, row: int, out: Path) -> None:
    """Make one row of a dataset again, alone.

    Reads RECIPE's photos; writes the picture, byte for byte as `synthesize` did, and prints the row as JSON.
    """
    from deepperception.synthesis.run import remake as made

    again = made(recipe.synthesis, recipe.seed, file, row)
    out.write_bytes(again.sample.image)
    objects = [{"entity": thing.entity, "box": thing.box.as_tuple()} for thing in again.sample.objects]
    sources = [{"id": source.id, "licence": source.licence} for source in again.sample.sources]
    told = {
        "question_id": again.sample.question_id,
        "layout": again.layout,
        "question": again.sample.question,
        "answer": again.sample.answer,
        "objects": objects,
        "sources": sources,
    }
    click.echo(json.dumps(told, indent=2, ensure_ascii=False))


@click.command("import-released")
@click.option("--sft", "sft", type=PATH, multiple=True, metavar="FILE", help="cot-sft-CATEGORY.json, any number.")
@click.option("--images", type=PATH, metavar="ZIP_OR_DIR", help="The pictures that the JSON files name.")
@click.option("--rl", "rl", type=PATH, multiple=True, metavar="FILE", help="grpo-CATEGORY.parquet, any number.")
@click.option("--licence", default="unknown", show_default=True, metavar="NAME", help="Of the pictures.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The dataset folder to write.")
def import_released(sft: tuple[Path, ...], images: Path | None, rl: tuple[Path, ...], licence: str, out: Path) -> None:
    """Turn the data that the paper's authors released into a dataset.

    Reads ShareGPT JSON with its pictures, and parquet with image, problem, solution; writes sft.parquet, rl.parquet and
    card.json to --out.
    """
    from deepperception.artifacts.stage import Context
    from deepperception.synthesis.released import import_released as imported

    if not sft and not rl:
        raise click.UsageError("give --sft or --rl.")
    context = Context(seed=0, progress=Progress("import"), recipe_hash="", inputs={})
    made = imported(sft, rl, images, licence, out, context)
    click.echo(f"{out}: dataset {made.digest} (sft {made.counts['sft']:,}, rl {made.counts['rl']:,})")
