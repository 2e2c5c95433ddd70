"""The commands that speak to Kubeflow Pipelines: `submit` and `status`."""

from __future__ import annotations

from pathlib import Path

import click

from deepperception.arguments import (
    PATH,
    allows_tags,
    takes_endpoint,
    takes_infra,
    takes_recipe,
    takes_seeds,
    with_endpoint,
)
from deepperception.infra import Infra, load_infra
from deepperception.recipe import Recipe


@click.command()
@takes_recipe
@takes_seeds
@takes_infra
@allows_tags
@takes_endpoint
@click.option(
    "--pipeline",
    type=click.Choice(["deepperception", "benchmark", "synthesis"]),
    default="deepperception",
    show_default=True,
    help="The whole flow; score model.base on a file; or compose photos only.",
)
@click.option("--benchmark", type=PATH, metavar="FILE", help="Parquet, with KVG-Bench's columns; put into the store.")
@click.option("--dry-run", is_flag=True, help="Print the compiled pipeline and the request; touch nothing.")
def submit(
    recipe: Recipe,
    infra: Infra,
    out: Path,
    allow_tags: bool,
    endpoint: str | None,
    pipeline: str,
    benchmark: Path | None,
    dry_run: bool,
) -> None:
    """Start a pipeline on Kubeflow Pipelines.

    Reads RECIPE and the infra file, and checks both as `check` does. Writes a version of the pipeline, where this one
    is not there yet, and a run, whose name follows from recipe and seed: a run that is under way is not started twice,
    and one that failed goes on from its finished stages. In the environment: DEEPPERCEPTION_KFP_TOKEN, where the API
    asks for one.
    """
    from deepperception.platform.cluster_check import check_cluster
    from deepperception.platform.submit import prepare, rendered, start

    if pipeline == "deepperception":
        recipe.refuse_choices()
    infra = with_endpoint(infra, endpoint)
    if infra.runner == "kubeflow" and not dry_run:
        check_cluster(recipe, infra, allow_tags=allow_tags)
    package, request = prepare(recipe, infra, pipeline, benchmark)
    if dry_run:
        click.echo(rendered(package, request))
        return
    run_id = start(infra, package, request, lambda line: click.echo(line, err=True), benchmark)
    click.echo(f"started: {request.run} ({run_id})")


@click.command()
@click.argument("run", required=False)
@click.option("--infra", "file", default="laptop", show_default=True, metavar="FILE", help="Where it runs.")
@takes_endpoint
def status(run: str | None, file: str, endpoint: str | None) -> None:
    """List runs, stages, and what is served.

    Without RUN: the runs below runs/, or the newest ones of the cluster that the infra file is of. With RUN, the folder
    that `run --out` wrote to: its finished stages, and the registry's champion; or the name or id of a run on the
    cluster: its stages with state and time, and what a failed one said last. Reads only. Writes nothing.
    """
    from deepperception.platform.release import serving_lines
    from deepperception.platform.run_status import of_cluster, of_cluster_run
    from deepperception.platform.status import of_run, of_runs

    # A run's folder fills the places of a laptop's file; a cluster's has none to fill.
    infra = with_endpoint(load_infra(file, Path(run or "runs").absolute()), endpoint)
    if infra.runner == "kubeflow":
        lines = of_cluster_run(infra, run) if run else of_cluster(infra)
    else:
        lines = of_run(infra, Path(run)) if run else of_runs(Path("runs"))
    for line in lines:
        click.echo(line)
    for line in serving_lines(infra):
        click.echo(line)
