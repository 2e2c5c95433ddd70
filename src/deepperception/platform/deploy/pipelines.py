"""Registers the compiled pipelines in Kubeflow Pipelines: a version for each content, none twice."""

from __future__ import annotations

from collections.abc import Callable

from deepperception.infra import Infra
from deepperception.platform.packages import PIPELINES, compiled, pipeline
from deepperception.platform.submit import register as registered


def register(infra: Infra | None, say: Callable[[str], None]) -> None:
    """Upload what KFP does not hold yet, every task in its pool; without an infra file it only says what to do.

    InputError where the infra file names no place on a cluster; InfrastructureError where KFP takes no package.
    """
    if infra is None:
        say("pipelines: not registered, for where they run is not told; deploy again with INFRA=FILE.")
        return
    for name in PIPELINES:
        registered(infra, compiled(name, infra), pipeline(name).name, lambda line: say(f"pipelines: {line}"))
