"""`python -m deepperception.platform.deploy up|down OVERLAY`: what `make deploy` and `make undeploy` call."""

from __future__ import annotations

from pathlib import Path

import click

from deepperception.arguments import PATH, Commands
from deepperception.infra import load_infra
from deepperception.platform.deploy.kubectl import Kubectl
from deepperception.platform.deploy.prerequisites import FILE
from deepperception.platform.deploy.run import Options
from deepperception.platform.deploy.run import deploy as deployed
from deepperception.platform.deploy.run import undeploy as undeployed

overlay = click.argument("overlay")
manifests = click.option("--manifests", type=PATH, default=Path("manifests"), show_default=True, metavar="DIR")
context = click.option("--context", metavar="NAME", help="kubectl's; the current one where none is given.")
dry_run = click.option("--dry-run", is_flag=True, help="Print everything; touch nothing. Needs no cluster.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Bring an overlay of manifests/ to a cluster, or take it away.

    OVERLAY is a name below manifests/overlays/, or a folder of your own.
    """


@cli.command()
@overlay
@manifests
@context
@dry_run
@click.option("--infra", metavar="NAME_OR_FILE", help="The cluster's infra file, to register the pipelines by.")
@click.option("--images", type=PATH, metavar="FILE", help="build/images.json: the images that `make images` built.")
@click.option("--deadline", type=click.IntRange(1), default=900, show_default=True, metavar="S", help="For each wave.")
def up(
    overlay: str,
    manifests: Path,
    context: str | None,
    dry_run: bool,
    infra: str | None,
    images: Path | None,
    deadline: int,
) -> None:
    """Render, validate, show the plan, apply, wait.

    Reads the overlay and the cluster; writes the objects, Secrets that are not there yet, and the pipelines.
    """
    where = load_infra(infra) if infra else None
    options = Options(_folder(manifests, overlay), manifests / FILE, deadline, where, images, dry_run)
    deployed(options, Kubectl(context), click.echo)


@cli.command()
@overlay
@manifests
@context
@dry_run
@click.option("--delete-data", is_flag=True, help="Volumes and Secrets, too.")
def down(overlay: str, manifests: Path, context: str | None, dry_run: bool, delete_data: bool) -> None:
    """Take the objects away; volumes and Secrets stay.

    Reads the overlay and the cluster; deletes objects.
    """
    undeployed(_folder(manifests, overlay), Kubectl(context), click.echo, delete_data=delete_data, dry_run=dry_run)


def _folder(manifests: Path, overlay: str) -> Path:
    return Path(overlay) if "/" in overlay else manifests / "overlays" / overlay


if __name__ == "__main__":
    cli(prog_name="deploy")
