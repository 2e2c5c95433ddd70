"""Before a GPU is taken: everything that the run will need is looked at, and all that is amiss is told at once."""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deepperception.artifacts.hub import SCHEME, HubRef
from deepperception.artifacts.store import Ref, open_store, resolve
from deepperception.errors import InfrastructureError, InputError
from deepperception.faults import Collector, raise_together
from deepperception.infra import Infra
from deepperception.infra_pools import TRAINING_STAGES, amount, layout_of, place_of, placement_faults
from deepperception.platform.pods import STORE_KEYS, TRACKING_KEYS
from deepperception.recipe import Recipe

if TYPE_CHECKING:
    from deepperception.platform.workplace import Workplace

_TIMEOUT_S = 10.0
_PROBE = "deepperception looks whether it may write here\n"
_SECRETS = {
    "store_secret": STORE_KEYS,
    "tracking_secret": TRACKING_KEYS,
}


def preflight(place: Workplace) -> dict[str, dict[str, object]]:
    """The pipeline's first step; raises all faults as one error."""
    recipe, infra, found = place.recipe, place.infra, Collector()
    with found():
        check_base(recipe.model.base)
    with found():
        check_source(recipe)
    with found():
        _check_writable(infra.work_dir)
    with found():
        check_store(infra)
    with found():
        check_tracking(infra.tracking_uri)
    if infra.runner == "kubeflow":
        found.add(placement_faults(infra))
        found.add(_missing_secrets(infra))
        with found():
            recipe.grpo.shared_by(layout_of(infra, "grpo").processes)
        with found():
            _check_trainer(infra)
        with found():
            found.add(over_quota(infra, _quotas(infra, place.progress.say)))
    raise_together(found.faults)
    return {}


def check_base(base: str) -> None:
    """The recipe's first model, as far as it can be told without its bytes."""
    if base.startswith(SCHEME):
        HubRef.parse(base)
    elif "://" in base and not base.startswith("package://"):
        Ref.parse(base)
    else:
        from deepperception.artifacts import check_checkpoint

        check_checkpoint(resolve(base))


def check_source(recipe: Recipe) -> None:
    """The photos' place."""
    from deepperception.synthesis.sources import open_source

    source = recipe.synthesis.source
    open_source(source, recipe.seed)
    if source.path is not None and not Path(source.path).is_dir():
        raise InputError(
            f"synthesis.source.path: {source.path} is no folder here; put the photos there, or correct it."
        )


def check_store(infra: Infra) -> None:
    """Whether the store takes a few bytes and gives them back."""
    # A look does not wait for a server to come back, as a stage would.
    s3 = infra.s3 and infra.s3.model_copy(update={"patience_s": 0})
    open_store(infra.store, s3).check()


def check_tracking(uri: str) -> None:
    """Whether the server answers and takes our word; a database file is made when it is first used."""
    if not uri.startswith(("http://", "https://")):
        return
    # First by hand: MLflow's client tries for minutes.
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        raise InfrastructureError(f"tracking_uri: {uri} answers {error.code} to /health; look at MLflow.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise InfrastructureError(f"tracking_uri: {uri} does not answer ({why}); is MLflow up?") from None
    from deepperception.promotion import CHAMPION
    from deepperception.tracking import MODEL, Tracker

    Tracker(uri, "deepperception", patience_s=0).alias(MODEL, CHAMPION)


def over_quota(infra: Infra, quotas: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A sentence for each stage and limit that its pods could never meet. `quotas`: name -> resource -> hard limit."""
    faults = []
    for stage in infra.stages:
        place = place_of(infra, stage)
        pool = infra.pools.get(place.pool)
        if pool is None:  # told elsewhere
            continue
        asked = {"cpu": pool.cpu, "memory": pool.memory}
        if pool.accelerator:
            asked[pool.accelerator] = str(pool.count)
        for name, hard in quotas.items():
            for resource, quantity in asked.items():
                for key in (f"requests.{resource}", f"limits.{resource}", resource):
                    if key in hard and amount(quantity) * place.nodes > amount(hard[key]):
                        faults.append(
                            f"stages.{stage}: it asks for {place.nodes} x {quantity} {resource}, and the quota '{name}'"
                            f" allows {hard[key]} ({key}); ask for less, or have the quota raised."
                        )
    return faults


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".preflight-") as probe:
            probe.write(_PROBE.encode())
            probe.flush()
    except OSError as error:
        raise InputError(f"work_dir: {folder} cannot be written to ({error.strerror}); look at its volume.") from None


def _check_trainer(infra: Infra) -> None:
    """Where a stage is several processes: whether TrainJobs are known here, and may be seen."""
    if all(layout_of(infra, stage).processes == 1 for stage in TRAINING_STAGES):
        return
    from deepperception.platform.trainjob.api import KubernetesApi

    assert infra.kubeflow is not None
    KubernetesApi.of_this_pod(infra.kubeflow.namespace).find("preflight")


def _missing_secrets(infra: Infra) -> list[str]:
    assert infra.kubeflow is not None
    return [
        f"kubeflow.{key}: the secret '{getattr(infra.kubeflow, key)}' in {infra.kubeflow.namespace} holds no {name};"
        " `make deploy` makes it."
        for key, names in _SECRETS.items()
        for name in names
        if not os.environ.get(name)
    ]


def _quotas(infra: Infra, say: Callable[[str], None]) -> dict[str, dict[str, str]]:
    """Name -> hard limits, of the namespace's ResourceQuotas; empty, and said, where they may not be read."""
    from kubernetes import client, config

    assert infra.kubeflow is not None
    try:
        config.load_incluster_config()
        found = client.CoreV1Api().list_namespaced_resource_quota(infra.kubeflow.namespace, _request_timeout=_TIMEOUT_S)
    except Exception as error:  # urllib3's, the client's own and its configuration's: what fits shows when a pod starts
        say(f"quotas are not checked ({type(error).__name__}: {str(error).splitlines()[0]})")
        return {}
    return {quota.metadata.name: dict(quota.spec.hard or {}) for quota in found.items}
