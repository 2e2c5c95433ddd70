"""Hands a recipe to Kubeflow Pipelines: one version for a package's content, one name for a recipe and a seed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from deepperception.artifacts.manifest import payload_digest
from deepperception.artifacts.store import Ref, open_store
from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.infra_pools import layout_of
from deepperception.platform.kubeflow import Pipelines
from deepperception.platform.packages import compiled, pipeline, version_name, whole_flow
from deepperception.recipe import Recipe

_DIGITS = 8  # of a digest: enough to tell a person's runs apart
_UNDER_WAY = ("PENDING", "RUNNING", "PAUSED")


@dataclass(frozen=True)
class Request:
    """All that is sent, apart from the package."""

    pipeline: str
    version: str
    run: str
    experiment: str
    namespace: str | None
    service_account: str | None
    arguments: dict[str, Any]


def prepare(
    recipe: Recipe, infra: Infra, name: str = "deepperception", benchmark: Path | None = None
) -> tuple[str, Request]:
    """The package of the pipeline `name` and what is asked with it; nothing is sent or stored.

    The whole flow of a recipe with a search is the pipeline of that name.
    `benchmark` is the file to score on, for the pipeline 'benchmark' alone. InputError, with all faults, where the
    infra file names no place on a cluster. Where its runner is another one, the package is the wiring alone.
    """
    if (benchmark is not None) != (name == "benchmark"):
        raise InputError("--benchmark FILE belongs to --pipeline benchmark, and that one needs it; give both.")
    on_cluster = infra.runner == "kubeflow"
    name = whole_flow(recipe) if name == "deepperception" else name
    package = compiled(name, infra if on_cluster else None)
    more = {"file": str(_reference(infra, benchmark))} if benchmark else {}
    run = _run_name(recipe, name, more)
    # Its own folder on the volume that all runs share: where a stage of this recipe and seed finds what is finished.
    own = infra.model_copy(update={"work_dir": infra.work_dir / run}) if on_cluster else infra
    where = infra.kubeflow
    return package, Request(
        pipeline=pipeline(name).name,
        version=version_name(package),
        run=run,
        experiment=infra.experiment,
        namespace=where.namespace if where else None,
        service_account=where.service_account if where else None,
        arguments={"recipe": recipe.to_json(), "infra": own.to_json(), "seed": recipe.seed, **more},
    )


def rendered(package: str, request: Request) -> str:
    """What `start` sends, the package's two YAML documents and the request; then the TrainJobs of the run's steps."""
    sent = f"{package.rstrip()}\n---\n{yaml.safe_dump(asdict(request), sort_keys=False)}"
    infra = Infra.from_json(request.arguments["infra"])
    if request.pipeline != "deepperception" or infra.runner != "kubeflow":
        return sent
    recipe = Recipe.from_json(request.arguments["recipe"])
    # The run's own folder is one below the place where the claim is mounted.
    jobs = rendered_jobs(recipe, infra, infra.work_dir.parent)
    return "---\n".join([sent, *jobs.values()])


def rendered_jobs(recipe: Recipe, infra: Infra, mount: Path) -> dict[str, str]:
    """Name -> YAML of every TrainJob that the whole flow's steps will make; `mount` is where the work claim is mounted.

    Left out is what only the run knows: the digest of the inputs, and which run it is.
    """
    from deepperception.platform.trainjob.render import render

    steps = [step for step in ("sft", "cot_sft", "grpo") if layout_of(infra, step).processes > 1]
    jobs = [render(step, recipe, infra, mount) for step in steps]
    return {job["metadata"]["name"]: yaml.safe_dump(job, sort_keys=False) for job in jobs}


def start(
    infra: Infra, package: str, request: Request, say: Callable[[str], None], benchmark: Path | None = None
) -> str:
    """Start the run, or find it where it is under way; returns its id.

    InputError where the infra file is of another place; InfrastructureError where the endpoint does not take the run.
    """
    if infra.runner != "kubeflow" or infra.kubeflow is None:
        # Its places are this machine's folders, which a cluster does not have.
        what = "give an infra file of the cluster with --infra, its API with --endpoint, or --dry-run to look only"
        raise InputError(f"runner: '{infra.runner}' is not for a cluster; {what}.")
    pipelines = Pipelines(infra.kubeflow)
    for run in pipelines.runs(request.run, count=1):
        if run.state in _UNDER_WAY:
            say(f"{request.run} is under way")
            return str(run.run_id)
    if benchmark:
        with tempfile.TemporaryDirectory() as folder:
            open_store(infra.store, infra.s3).put(_alone(benchmark, Path(folder)))
    known = pipelines.pipeline(request.pipeline)
    pipeline_id = known or pipelines.create_pipeline(request.pipeline, pipeline_description(package))
    return pipelines.start(
        request.run,
        experiment=request.experiment,
        pipeline=pipeline_id,
        version=_version(pipelines, pipeline_id, package, request, say),
        arguments=request.arguments,
        account=infra.kubeflow.service_account,
    )


def register(infra: Infra, package: str, name: str, say: Callable[[str], None]) -> str:
    """Have the package known as the newest version of the pipeline `name`, uploaded once; returns the version's id."""
    assert infra.kubeflow is not None, "callers have checked the infra file"
    pipelines = Pipelines(infra.kubeflow)
    request = Request(name, version_name(package), "", "", None, None, {})
    pipeline_id = pipelines.pipeline(name) or pipelines.create_pipeline(name, pipeline_description(package))
    return _version(pipelines, pipeline_id, package, request, say)


def pipeline_description(package: str) -> str:
    """What the package says of itself."""
    return str(next(iter(yaml.safe_load_all(package)))["pipelineInfo"].get("description", ""))


def _version(pipelines: Pipelines, pipeline_id: str, package: str, request: Request, say: Callable[[str], None]) -> str:
    if known := pipelines.version(pipeline_id, request.version):
        say(f"{request.pipeline} {request.version} is there already")
        return known
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        path.write_text(package, encoding="utf-8")
        made = pipelines.upload_version(pipeline_id, request.version, path)
    say(f"{request.pipeline} {request.version} uploaded")
    return made


def _run_name(recipe: Recipe, pipeline: str, more: dict[str, str]) -> str:
    """The same for the same recipe, seed and benchmark, and another for any other."""
    content = "\n".join([pipeline, recipe.to_json(), *more.values()])
    parts = [recipe.name, *([] if pipeline == whole_flow(recipe) else [pipeline]), str(recipe.seed)]
    return "-".join([*parts, hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]])


def _reference(infra: Infra, benchmark: Path) -> Ref:
    """What the store will know the file by: stores find a folder by its digest."""
    with tempfile.TemporaryDirectory() as folder:
        return Ref(infra.store, payload_digest(_alone(benchmark, Path(folder))))


def _alone(benchmark: Path, folder: Path) -> Path:
    """The file as the only one of a folder."""
    if not benchmark.is_file():
        raise InputError(f"{benchmark}: there is no such file; give a benchmark with --benchmark FILE.parquet.")
    shutil.copyfile(benchmark, folder / "benchmark.parquet")
    return folder
