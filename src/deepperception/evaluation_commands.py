"""The commands that measure: `evaluate` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from deepperception.arguments import PATH, checkpoint
from deepperception.grounding import DialogueName
from deepperception.inference.open import EngineName
from deepperception.progress import Progress, show
from deepperception.settings import parse

if TYPE_CHECKING:
    from deepperception.evaluation.config import EvaluationConfig


@click.command()
@click.option("--benchmark", type=PATH, required=True, metavar="FILE", help="Parquet, with KVG-Bench's columns.")
@click.option("--model", metavar="DIR_OR_REF", help="The checkpoint to ask; with openai, its name on the server.")
@click.option("--predictions", type=PATH, metavar="FILE", help='Or its replies: JSON lines {"question_id", "text"}.')
@click.option("--seen", metavar="A,B,C", help="Categories that count as seen in training.")
@click.option("--engine", type=click.Choice(get_args(EngineName)), default="transformers", show_default=True)
@click.option("--endpoint", metavar="URL", help="Of an OpenAI-compatible server, up to /v1. Its key: OPENAI_API_KEY.")
@click.option("--concurrency", type=click.IntRange(1, 1024), metavar="N", help="Requests to it at a time: 16.")
@click.option("--shard", metavar="I/N", help="Ask only part I of N (from 0); whichever is finished last scores all.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, metavar="N")
@click.option("--prompt", type=click.Choice(get_args(DialogueName)), help="In the place of the checkpoint's own.")
@click.option("--max-new-tokens", type=click.IntRange(1), metavar="N", help="In the place of the checkpoint's own.")
@click.option("--max-pixels", type=click.IntRange(3_136), metavar="N", help="Per resized picture, likewise.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, metavar="T", help="0, the default, is greedy.")
@click.option("--samples", type=click.IntRange(1), default=1, metavar="K", help="Replies to each question.")
@click.option("--sampling-seed", type=click.IntRange(0), default=0, metavar="N", help="Of the replies drawn.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The evaluation folder to write.")
def evaluate(
    benchmark: Path,
    model: str | None,
    predictions: Path | None,
    seen: str | None,
    shard: str | None,
    out: Path,
    endpoint: str | None,
    concurrency: int | None,
    **settings: Any,
) -> None:
    """Score a model, or its replies, on a benchmark.

    For boxes, or for letters where FILE holds multiple-choice questions.

    Reads FILE and the checkpoint or the replies; writes metrics.json, cases.jsonl and a page, report.html, to --out.
    Killed, the same command goes on behind the last reply (they are beside --out until it is finished). The paper asked
    with --prompt r1 --max-new-tokens 1500 --max-pixels 12845056; a checkpoint's own deepperception.json may say
    otherwise.
    """
    from deepperception.artifacts import Context
    from deepperception.artifacts.choice_rows import holds_choices
    from deepperception.evaluation.choices import evaluate_model_on_choices, evaluate_predictions_on_choices
    from deepperception.evaluation.config import EvaluationConfig
    from deepperception.evaluation.page import page_writer
    from deepperception.evaluation.run import evaluate_endpoint, evaluate_model, evaluate_predictions
    from deepperception.evaluation.shards import WHOLE, Shard

    if (model is None) == (predictions is None):
        raise click.UsageError("give either --model or --predictions.")
    config = _config(settings, model, endpoint, concurrency)
    part = WHOLE if shard is None else Shard.parse(shard)
    untouched = config.model_copy(update={"batch_size": 64}) == EvaluationConfig()
    if predictions is not None and not (untouched and part == WHOLE):
        raise click.UsageError("how to ask and to decode is for --model; with --predictions the replies are there.")
    context = Context(seed=0, progress=Progress("evaluate"), recipe_hash="", inputs={})
    categories = None if seen is None else [name.strip() for name in seen.split(",") if name.strip()]
    of_letters = holds_choices(benchmark)
    page = page_writer(Path(str(model or predictions)).name, benchmark, seen=categories)
    told: dict[str, Any] = {"seen": categories, "finish": page}
    if of_letters and (endpoint or part != WHOLE):
        raise click.UsageError("multiple choice is asked in one piece, of a checkpoint; or give --predictions.")
    finished = True
    if predictions is not None:
        score_predictions = evaluate_predictions_on_choices if of_letters else evaluate_predictions
        score_predictions(benchmark, predictions, out, context, **told)
    elif of_letters:
        evaluate_model_on_choices(config, benchmark, checkpoint(str(model)), out, context, **told)
    elif endpoint:
        finished = evaluate_endpoint(config, benchmark, out, context, shard=part, **told) is not None
    else:
        folder = checkpoint(str(model))
        finished = evaluate_model(config, benchmark, folder, out, context, shard=part, **told) is not None
    if finished:
        _show(str(model or predictions), out, of_letters=of_letters)


def _config(
    settings: dict[str, Any], model: str | None, endpoint: str | None, concurrency: int | None
) -> EvaluationConfig:
    """The options as settings; UsageError where they do not go together."""
    from deepperception.evaluation.config import EvaluationConfig

    if (settings["engine"] == "openai") != (endpoint is not None) or (concurrency and not endpoint):
        raise click.UsageError("--endpoint and --concurrency go with --engine openai, which needs the --endpoint.")
    if endpoint and settings["max_pixels"]:
        raise click.UsageError("the server decides on the size of pictures; leave --max-pixels out.")
    if endpoint:
        given = {"url": endpoint, "model": model, "concurrency": concurrency}
        settings["endpoint"] = {key: value for key, value in given.items() if value is not None}
    return parse(settings, EvaluationConfig, where="evaluate")


def _show(name: str, out: Path, *, of_letters: bool) -> None:
    from deepperception.artifacts import read_metrics
    from deepperception.evaluation.published import published_for, published_table
    from deepperception.evaluation.table import LETTERS_TITLE, TITLE, render_table

    metrics = read_metrics(out)
    show(render_table({name: metrics}, title=LETTERS_TITLE if of_letters else TITLE))
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
