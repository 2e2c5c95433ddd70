"""The command that looks behind a score: `analyze`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from deepperception.arguments import PATH, checkpoint
from deepperception.progress import Progress


@click.command()
@click.argument("evaluation", type=PATH)
@click.option("--benchmark", type=PATH, required=True, metavar="FILE", help="What the evaluation was made on.")
@click.option("--knows", metavar="DIR_OR_REF", help="Probe what this checkpoint knows. The paper probes the base.")
@click.option("--model", metavar="DIR_OR_REF", help="The evaluated checkpoint: with --before, their divergence.")
@click.option("--before", metavar="DIR_OR_REF", help="The stage before it.")
@click.option("--pictures", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="An entity.")
@click.option("--replies", type=click.IntRange(1), default=200, show_default=True, metavar="N", help="Compared by KL.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, metavar="N")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Of the probes.")
@click.option("--seen", metavar="A,B,C", help="Categories that count as seen in training.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The folder to write.")
def analyze(
    evaluation: Path,
    benchmark: Path,
    knows: str | None,
    model: str | None,
    before: str | None,
    pictures: int,
    replies: int,
    batch_size: int,
    seed: int,
    seen: str | None,
    out: Path,
) -> None:
    """Look behind a score, as the paper does.

    Accuracy by number of candidates and by box size; with --knows, known and unknown entities and recognition against
    grounding; with --model and --before, the KL of reasoning and answer tokens. Reads an EVALUATION folder of boxes,
    FILE and the checkpoints; writes analysis.json, analysis.html and the probes' cases to --out.
    """
    from deepperception.artifacts import Context, payload_digest
    from deepperception.evaluation.analysis import ANALYSIS, Extent, Inputs, run, told

    folders = {
        name: None if given is None else checkpoint(given)
        for name, given in (("knows", knows), ("later", model), ("before", before))
    }
    digests = {name: payload_digest(folder) for name, folder in folders.items() if folder}
    context = Context(seed, Progress("analyze"), "", {**digests, "evaluation": payload_digest(evaluation)})
    categories = None if seen is None else [name.strip() for name in seen.split(",") if name.strip()]
    inputs = Inputs(evaluation, benchmark, seen=categories, **folders)
    run(inputs, Extent(pictures, replies, batch_size), out, context)
    click.echo("\n".join(told(json.loads((out / ANALYSIS).read_text(encoding="utf-8")))))
    click.echo(f"written to {out}")
