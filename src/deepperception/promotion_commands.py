"""The commands that decide what is served: `promote` and `rollback`."""

from __future__ import annotations

from pathlib import Path

import click

from deepperception.arguments import PATH, takes_infra, takes_recipe
from deepperception.errors import GateRefused
from deepperception.infra import Infra
from deepperception.progress import Progress
from deepperception.recipe import Recipe


@click.command()
@takes_recipe
@takes_infra
@click.option("--model", required=True, metavar="REF", help="The candidate: a checkpoint folder or a reference.")
@click.option("--evidence", type=PATH, required=True, metavar="DIR", help="Its evaluation, as `evaluate` wrote it.")
@click.option("--benchmark", type=PATH, metavar="FILE", help="The evaluation's; looked for in the work folder.")
@click.option("--data", type=PATH, metavar="DIR", help="Its training data, whose card tells of a leakage guard.")
@click.option("--override", metavar="REASON", help="Promote although the gate says no; the reason is kept.")
@click.option("--again", is_flag=True, help="Release once more what was rolled back.")
@click.option(
    "--allow-downtime", is_flag=True, help="Replace the served version at once, where nothing can run beside it."
)
@click.option("--dry-run", is_flag=True, help="Say what the gate decides, print the exact objects; write nothing.")
def promote(
    recipe: Recipe,
    infra: Infra,
    out: Path,
    model: str,
    evidence: Path,
    benchmark: Path | None,
    data: Path | None,
    override: str | None,
    again: bool,
    allow_downtime: bool,
    dry_run: bool,
) -> None:
    """Make a model champion, if it is the better one.

    Reads its evaluation, and scores the champion on the same benchmark where that is not done yet. Writes the evidence,
    a model version and the aliases. Where the infra file has a section `serving`, the model is released there: beside
    the champion without requests, then with the recipe's shares of them, each watched; back at the first failure. Else
    its service is tried on this machine. Killed at any moment, the same command goes on. Exits with 4 where the gate
    says no, or the release was rolled back.
    """
    from deepperception.platform.promote import foresee
    from deepperception.platform.promote import promote as promoted
    from deepperception.promotion import Wishes
    from deepperception.promotion.gate import table

    wishes, progress = Wishes(override, again, allow_downtime), Progress("promote")
    if dry_run:
        seen = foresee(recipe, infra, model, evidence, benchmark, progress, wishes=wishes, dataset=data)
        result = seen.result
        click.echo(table(result.decision.criteria) if result.decision else "", err=True)
        click.echo(seen.objects, nl=False)
    else:
        result = promoted(recipe, infra, model, evidence, benchmark, progress, wishes=wishes, dataset=data)
    if result.outcome == "refused":
        raise GateRefused(f"version {result.champion.number} stays champion: {result.reason}.")
    click.echo(f"{result.outcome}: {result.reason}", err=dry_run)


@click.command()
@takes_infra
@click.option("--dry-run", is_flag=True, help="Say what would be done, print the exact objects; do nothing.")
def rollback(infra: Infra, out: Path | None, dry_run: bool) -> None:
    """Make the previous version champion again.

    Reads the registry and the store. Where the infra file has a section `serving`: ends a release that is under way, or
    brings the version before back there, first without requests and then with all of them. Else serves it on this
    machine to see that it loads. Writes the aliases.
    """
    from deepperception.platform.upkeep import roll_back

    click.echo(roll_back(infra, Progress("rollback"), dry_run=dry_run))
