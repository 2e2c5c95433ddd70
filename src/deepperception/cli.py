"""The command line. Exit codes: 0 done, 1 the input is wrong, 2 usage, 3 the infrastructure failed, 4 the gate said no,
75 stopped, run again to go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepperception.analysis_commands import analyze
from deepperception.arguments import (
    Commands,
    allows_tags,
    checkpoint,
    takes_endpoint,
    takes_infra,
    takes_recipe,
    takes_seeds,
    tell,
    trains,
    with_endpoint,
)
from deepperception.cluster_commands import status, submit
from deepperception.dataset_commands import benchmark, synthesize
from deepperception.evaluation_commands import compare, evaluate
from deepperception.infra import Infra
from deepperception.progress import show
from deepperception.promotion_commands import promote, rollback
from deepperception.recipe import Recipe
from deepperception.serving_commands import predict, serve
from deepperception.synthesis_commands import import_released, remake

if TYPE_CHECKING:
    from deepperception.artifacts import Context, Interface


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="deepperception")
def cli() -> None:
    """Labelled photos go in, a served model out: it finds a named entity among its look-alikes.

    RECIPE and --infra are YAML files, or names of ready-made ones (bestiary, photos, fgvr; laptop, docker, gpu-pool).
    Exit codes: 0 done, 1 the input is wrong, 2 usage, 3 the infrastructure failed, 4 the gate said no, 75 stopped (run
    again to go on).
    """


@cli.command()
@takes_recipe
@takes_seeds
@takes_infra
@allows_tags
@takes_endpoint
def check(recipe: Recipe, infra: Infra, out: Path, allow_tags: bool, endpoint: str | None) -> None:
    """Look at all that a run needs.

    Reads RECIPE, the infra file, the base checkpoint and every photo, and opens the teacher. Where the infra file is of
    a cluster: renders every pipeline, asks Kubeflow Pipelines, and the store and MLflow where this machine may, and
    names all that would fail at once. Writes nothing but a probe of a few bytes into such a store.
    """
    if infra.runner == "kubeflow":
        from deepperception.platform.cluster_check import check_cluster

        lines = check_cluster(recipe, with_endpoint(infra, endpoint), allow_tags=allow_tags)
        click.echo(f"{recipe.name}: fine, as far as it can be seen from here")
        click.echo("\n".join(f"  {line}" for line in lines))
        return
    from deepperception.synthesis.run import survey

    checkpoint(recipe.model.base, infra.s3)
    stock = survey(recipe.synthesis, recipe.seed, box_step=recipe.model.box_step)
    click.echo(f"{recipe.name}: fine. Base {recipe.model.base}; runner '{infra.runner}', to {out}")
    click.echo("\n".join(f"  {line}" for line in stock.lines()))


@cli.command()
@takes_recipe
@takes_seeds
@takes_infra
def run(recipe: Recipe, infra: Infra, out: Path) -> None:
    """Run the whole pipeline on this machine.

    Synthesis, training, evaluation, promotion and report, through KFP's local runner. Reads RECIPE, its base model and
    photos. Writes DIR/summary.json, DIR/work (each stage's artifact), DIR/store, DIR/mlflow.db, DIR/prediction and
    DIR/logs. With --seeds, or where RECIPE has a search: a training for each, in DIR/work/trials, of which validation
    chooses one; scores are then means over the seeds. Killed at any moment, the same command goes on from the last
    finished stage. A gate that lets no model pass is a result like another: it is said, and the exit code is 0.
    """
    from deepperception.platform.local import run_pipeline
    from deepperception.platform.summary import tell
    from deepperception.platform.tables import results

    recipe.refuse_choices()
    summary = run_pipeline(recipe, infra, out)
    show(results(recipe, infra))
    click.echo(tell(summary, out))


cli.add_command(submit)
cli.add_command(status)


cli.add_command(synthesize)
cli.add_command(benchmark)


cli.add_command(remake)
cli.add_command(import_released)


@cli.command()
@trains
@click.option(
    "--arm", type=click.Choice(["cot_sft", "sft"]), default="cot_sft", help="With reasoning, or bare answers."
)
def sft(recipe: Recipe, model: Path, data: Path, out: Path, context: Context, interface: Interface, arm: Any) -> None:
    """Fine-tune a checkpoint.

    By RECIPE's `sft` and `model` sections. Reads --model and --data; writes a checkpoint to --out.
    """
    from deepperception.sft.run import run as stage

    made = stage(recipe.sft, arm=arm, model=model, data=data, out=out, context=context, interface=interface)
    tell(made, out)


@cli.command()
@trains
def grpo(recipe: Recipe, model: Path, data: Path, out: Path, context: Context, interface: Interface) -> None:
    """Train a checkpoint by its rewards.

    By RECIPE's `grpo` and `model` sections. Reads --model and --data; writes a checkpoint to --out.
    """
    from deepperception.grpo.run import run as stage

    tell(stage(recipe.grpo, model=model, data=data, out=out, context=context, interface=interface), out)


cli.add_command(evaluate)
cli.add_command(compare)
cli.add_command(analyze)


cli.add_command(promote)
cli.add_command(rollback)


cli.add_command(serve)
cli.add_command(predict)


@cli.command()
@takes_infra
@click.option(
    "--days",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    metavar="N",
    help="How long runs keep what is theirs.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
def gc(infra: Infra, out: Path | None, days: int, dry_run: bool) -> None:
    """Clear the store of what nothing refers to.

    Reads the registry, the runs and the work folder; removes every artifact that belongs to no registered version, to
    no run of the last N days and to no finished stage, and that nobody has put for N days; and what uploads that were
    cut off left behind.
    """
    from deepperception.platform.upkeep import sweep

    for line in sweep(infra, days=days, dry_run=dry_run):
        click.echo(line)


def main() -> None:
    cli(prog_name="deepperception")


if __name__ == "__main__":
    main()
