"""The commands that measure: `evaluate` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from deepperception.arguments import PATH, checkpoint
from deepperception.grounding import DialogueName
from deepperception.progress import Progress, show
from deepperception.settings import parse


@click.command()
@click.option("--benchmark", type=PATH, required=True, metavar="FILE", help="Parquet, with KVG-Bench's columns.")
@click.option("--model", metavar="DIR_OR_REF", help="The checkpoint to ask.")
@click.option("--predictions", type=PATH, metavar="FILE", help='Or its replies: JSON lines {"question_id", "text"}.')
@click.option("--seen", metavar="A,B,C", help="Categories that count as seen in training.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, metavar="N")
@click.option("--prompt", type=click.Choice(get_args(DialogueName)), help="In the place of the checkpoint's own.")
@click.option("--max-new-tokens", type=click.IntRange(1), metavar="N", help="In the place of the checkpoint's own.")
@click.option("--max-pixels", type=click.IntRange(3_136), metavar="N", help="Per resized picture, likewise.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, metavar="T", help="0, the default, is greedy.")
@click.option("--samples", type=click.IntRange(1), default=1, metavar="K", help="Replies to each question.")
@click.option("--sampling-seed", type=click.IntRange(0), default=0, metavar="N", help="Of the replies drawn.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The evaluation folder to write.")
def evaluate(
    benchmark: Path, model: str | None, predictions: Path | None, seen: str | None, out: Path, **settings: Any
) -> None:
    """Score a model, or its replies, on a benchmark.

    Reads FILE and the checkpoint or the replies; writes metrics.json and cases.jsonl to --out. The paper asked with
    --prompt r1 --max-new-tokens 1500 --max-pixels 12845056; a checkpoint's own deepperception.json may say otherwise.
    """
    from deepperception.artifacts import Context, read_metrics
    from deepperception.evaluation.config import EvaluationConfig
    from deepperception.evaluation.published import published_for, published_table
    from deepperception.evaluation.run import evaluate_model, evaluate_predictions
    from deepperception.evaluation.table import render_table

    if (model is None) == (predictions is None):
        raise click.UsageError("give either --model or --predictions.")
    config = parse(settings, EvaluationConfig, where="evaluate")
    if predictions is not None and config.model_copy(update={"batch_size": 64}) != EvaluationConfig():
        raise click.UsageError("how to ask and to decode is for --model; with --predictions the replies are there.")
    context = Context(seed=0, progress=Progress("evaluate"), recipe_hash="", inputs={})
    categories = None if seen is None else [name.strip() for name in seen.split(",") if name.strip()]
    if predictions is not None:
        evaluate_predictions(benchmark, predictions, out, context, seen=categories)
    else:
        evaluate_model(config, benchmark, checkpoint(str(model)), out, context, seen=categories)
    metrics = read_metrics(out)
    show(render_table({str(model or predictions): metrics}))
    if rows := published_for(metrics):
        show(published_table(rows))
    click.echo(f"written to {out}")


@click.command()
@click.argument("evaluation_a", type=PATH)
@click.argument("evaluation_b", type=PATH)
@click.option("--anyway", is_flag=True, help="Though their benchmark, engine, number format or decoding differ.")
def compare(evaluation_a: Path, evaluation_b: Path, anyway: bool) -> None:
    """Compare two evaluations of one benchmark.

    Case by case, by McNemar's test and the bootstrap. Reads two folders that `evaluate` wrote; writes nothing.
    """
    from deepperception.evaluation.compare import compare as compared
    from deepperception.evaluation.compare import comparison_table

    comparison = compared(evaluation_a, evaluation_b, anyway=anyway)
    show(comparison_table(comparison, label_a=str(evaluation_a), label_b=str(evaluation_b)))
