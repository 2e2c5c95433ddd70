"""The part of an infra file that speaks of a cluster: images, Kubeflow's place, node pools, and which stage uses which.

What one key may hold is checked as the file is read. What keys must say together is checked by `placement_faults`, so
that all of it can be told at once, and only where a cluster is used.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field

from deepperception.settings import Settings

if TYPE_CHECKING:
    from deepperception.infra import Infra

STAGES = ("preflight", "base", "synthesis", "sft", "grpo", "evaluation", "promotion", "report", "ending")
"""The pipeline's components, each with a place in the infra file."""
GPU_STAGES = ("sft", "grpo", "evaluation")
"""What trains or asks the model: on a CPU only where the infra file says that this is meant."""

TRAINING_STAGES = ("sft", "grpo")
"""What several processes can do together."""

_SAME_PLACE = {"cot_sft": "sft"}
"""Steps that run where another stage's component says."""
_BY_DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class Images(Settings):
    """The containers that stages run in, by digest: registry/name@sha256:HEX."""

    trainer: str = Field(description="For every stage of the pipeline.")
    server: str | None = Field(default=None, description="For the served model.")


class Kubeflow(Settings):
    """Where Kubeflow Pipelines answers, and what its pods find in their namespace."""

    endpoint: str = Field(description="URL of the pipelines' API.")
    namespace: str = Field(default="deepperception-runs", description="Of the pipelines' pods.")
    service_account: str = Field(default="deepperception-runner", description="That the pods run under.")
    ui: str | None = Field(default=None, description="URL of the pages, for links; none are printed without it.")
    tracking_ui: str | None = Field(
        default=None, description="URL of MLflow from outside, for links and for `status`; null: tracking_uri."
    )
    store_secret: str = Field(default="deepperception-store", description="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.")
    tracking_secret: str = Field(
        default="deepperception-tracking", description="MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD."
    )
    hub_secret: str | None = Field(
        default=None, description="HF_TOKEN, for gated models; only the pod that imports the model gets it."
    )
    work_claim: str = Field(default="deepperception-work", description="Volume claim for work_dir, shared by pods.")
    hub_claim: str = Field(default="deepperception-hub", description="Volume claim that keeps models of a hub.")


class Toleration(Settings):
    """Lets a pod onto tainted nodes."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Pool(Settings):
    """A kind of node, and what a pod takes of one. Requests and limits are the same."""

    cpu: str = Field(description="Of one pod: '8', '500m'.")
    memory: str = Field(description="Of one pod: 64Gi.")
    accelerator: str | None = Field(default=None, description="The device's resource name: nvidia.com/gpu.")
    count: int = Field(default=0, ge=0, description="Accelerators of one pod.")
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)
    queue: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        description="Kueue's LocalQueue, for its pods and TrainJobs; null: none.",
    )
    shared_memory: str | None = Field(default=None, description="Of /dev/shm, out of `memory`; the default is 64 MB.")


class StagePlace(Settings):
    """Where one stage runs, and how long it may."""

    pool: str = Field(description="A name out of `pools`.")
    nodes: int = Field(default=1, ge=1, description="Of one training; more than one process makes a TrainJob.")
    processes_per_node: int | None = Field(default=None, ge=1, description="null: one for each accelerator.")
    launcher: str = Field(default="cpu", description="Pool of the pod that makes a TrainJob and waits for it.")
    queue_wait_s: int | None = Field(
        default=None, ge=1, description="How long a TrainJob may be suspended; null: until its queue lets it run."
    )
    timeout_s: int | None = Field(default=None, ge=1, description="Of one attempt, after which its pod is ended.")
    retries: int = Field(default=2, ge=0, le=20, description="After a preemption or a failing cluster.")
    on_cpu: bool = Field(default=False, description="Says of a stage that wants a GPU that none is meant.")


def place_of(infra: Infra, stage: str) -> StagePlace:
    """What the file says of the stage; else the pool 'gpu' for what wants a GPU, and 'cpu' for all others."""
    stage = _SAME_PLACE.get(stage, stage)
    return infra.stages.get(stage) or StagePlace(pool="gpu" if stage in GPU_STAGES else "cpu")


def placement_faults(infra: Infra) -> list[str]:
    """A sentence for everything in the file that a cluster would refuse, or that would waste its time."""
    return [*_missing(infra), *_stage_faults(infra), *_pool_faults(infra.pools), *_serving_faults(infra)]


@dataclass(frozen=True)
class Layout:
    """The processes of one training."""

    nodes: int
    processes_per_node: int

    @property
    def processes(self) -> int:
        return self.nodes * self.processes_per_node

    def __str__(self) -> str:
        return f"{self.processes} processes on {self.nodes} node{'s' if self.nodes > 1 else ''}"


def layout_of(infra: Infra, stage: str) -> Layout:
    """How many processes the stage is. On a cluster a single one is the step's own pod, several are a TrainJob."""
    if infra.runner != "kubeflow" or _SAME_PLACE.get(stage, stage) not in TRAINING_STAGES:
        return Layout(1, 1)
    place = place_of(infra, stage)
    pool = infra.pools.get(place.pool)
    accelerators = pool.count if pool and pool.accelerator else 0
    return Layout(place.nodes, place.processes_per_node or max(1, accelerators))


def layout_faults(infra: Infra, stage: str) -> Iterator[str]:
    """A sentence for everything that keeps the stage from running as so many processes."""
    place = place_of(infra, stage)
    if stage not in TRAINING_STAGES:
        for key in ("nodes", "processes_per_node"):
            if (getattr(place, key) or 1) > 1:
                yield f"stages.{stage}.{key}: only {' and '.join(TRAINING_STAGES)} are several processes; write 1."
        return
    pool = infra.pools.get(place.pool)
    if pool and pool.accelerator and pool.count and place.processes_per_node not in (None, pool.count):
        yield (
            f"stages.{stage}.processes_per_node: {place.processes_per_node} processes for {pool.count} x "
            f"{pool.accelerator} a pod in the pool '{place.pool}'; each trains on one of its own, so leave the key "
            "out, or change the pool's count."
        )
    if layout_of(infra, stage).processes > 1 and infra.pools and place.launcher not in infra.pools:
        yield f"stages.{stage}.launcher: there is no pool '{place.launcher}'; {_nearest(place.launcher, infra.pools)}"


def image_faults(images: Images | None) -> list[str]:
    """A sentence for every image that is named by what may change under its name."""
    named = images.model_dump(exclude_none=True) if images else {}
    return [
        f"images.{name}: '{image}' is no digest, and what a tag means may change; give NAME@sha256:<64 hex digits>"
        " as your registry tells it, or allow tags with --allow-tags."
        for name, image in named.items()
        if not _BY_DIGEST.fullmatch(image)
    ]


def amount(quantity: str) -> float:
    """Cores or bytes: '500m' is 0.5, '1Gi' is 2^30. ValueError where it is no quantity of Kubernetes."""
    match = _QUANTITY.fullmatch(quantity)
    if not match:
        raise ValueError(quantity)
    return float(match[1]) * _UNITS[match[2] or ""]


def _missing(infra: Infra) -> Iterator[str]:
    if infra.images is None:
        yield "images: a cluster needs the image to run; add images.trainer: NAME@sha256:HEX."
    if infra.kubeflow is None:
        yield "kubeflow: a cluster's API is not named; add kubeflow.endpoint: URL."
    elif urlsplit(infra.kubeflow.endpoint).scheme not in ("http", "https"):
        yield f"kubeflow.endpoint: '{infra.kubeflow.endpoint}' is no URL; expected http://HOST:PORT or https://HOST."
    if not infra.pools:
        yield "pools: there are none; add at least pools.cpu with cpu and memory."


def _stage_faults(infra: Infra) -> Iterator[str]:
    for stage in infra.stages:
        if stage not in STAGES:
            yield f"stages.{stage}: there is no such stage; {_nearest(stage, STAGES)}"
    for stage in STAGES:
        place = place_of(infra, stage)
        pool = infra.pools.get(place.pool)
        if pool is None:
            if infra.pools and stage in infra.stages:
                yield f"stages.{stage}.pool: there is no pool '{place.pool}'; {_nearest(place.pool, infra.pools)}"
        elif stage in GPU_STAGES and not place.on_cpu and not (pool.accelerator and pool.count):
            yield (
                f"stages.{stage}: it needs a GPU and the pool '{place.pool}' gives it none; set pools.{place.pool}."
                f"accelerator and count, choose another pool, or say stages.{stage}.on_cpu: true."
            )
        yield from layout_faults(infra, stage)
    for name, stages in _unnamed(infra).items():
        yield f"pools: there is no pool '{name}', for {', '.join(stages)}; add it, or name another in stages."


def _serving_faults(infra: Infra) -> Iterator[str]:
    place = infra.serving
    if place and place.pool is not None and place.pool not in infra.pools:
        yield f"serving.pool: there is no pool '{place.pool}'; {_nearest(place.pool, infra.pools)}"
    if place and not infra.store.startswith("s3://"):
        yield f"serving: its pods cannot read the store {infra.store}; give an s3:// one."


def _unnamed(infra: Infra) -> dict[str, list[str]]:
    """Absent pool -> the stages that would run there for want of a word on them."""
    absent: dict[str, list[str]] = {}
    for stage in STAGES if infra.pools else ():
        if stage not in infra.stages and (name := place_of(infra, stage).pool) not in infra.pools:
            absent.setdefault(name, []).append(stage)
    return absent


def _pool_faults(pools: Mapping[str, Pool]) -> Iterator[str]:
    for name, pool in pools.items():
        for key in ("cpu", "memory", "shared_memory"):
            quantity = getattr(pool, key)
            if quantity is not None and not (_QUANTITY.fullmatch(quantity) and amount(quantity)):
                yield f"pools.{name}.{key}: '{quantity}' is no amount that Kubernetes knows; write 8, 500m or 64Gi."
        if pool.accelerator and not pool.count:
            yield f"pools.{name}.count: it names the accelerator {pool.accelerator} and asks for 0; ask for 1 or more."
        if pool.count and not pool.accelerator:
            yield f"pools.{name}.accelerator: it asks for {pool.count} of nothing; write nvidia.com/gpu, or count: 0."


def _nearest(name: str, known: Iterator[str] | Mapping[str, Pool] | tuple[str, ...]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(names)}."
