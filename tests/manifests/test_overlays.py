"""Every overlay is valid and breaks no rule. That the rules can fail is shown in tests/platform/deploy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepperception.platform.deploy import schemas
from deepperception.platform.deploy.checks import RULES, beside_secrets
from deepperception.platform.deploy.flows import End, allows
from deepperception.platform.deploy.objects import Object, of_kind, title
from deepperception.platform.deploy.policies import Rule
from deepperception.platform.deploy.prerequisites import load
from deepperception.platform.deploy.references import addresses, texts_of

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("DEEPPERCEPTION_SHARED", ROOT.parent / "shared"))
NAMES = ("gpu", "kind")
Overlays = Mapping[str, list[Object]]


def test_these_are_the_overlays(overlays: Overlays) -> None:
    assert tuple(overlays) == NAMES


@pytest.mark.parametrize("version", schemas.KUBERNETES)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_in_every_kubernetes(overlays: Overlays, name: str, version: str) -> None:
    assert list(schemas.breaches(overlays[name], version)) == []


def test_the_supported_versions_are_those_of_the_file() -> None:
    wanted = load(ROOT / "manifests" / "prerequisites.yaml").kubernetes
    assert (wanted.oldest, wanted.newest) == (schemas.KUBERNETES[0], schemas.KUBERNETES[-1])


def resource_schemas() -> Path:
    folder = SHARED / "schemas"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: KServe's and Trainer's schemas cannot be checked")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_custom_resources_are_valid(overlays: Overlays, name: str) -> None:
    assert list(schemas.custom_breaches(overlays[name], resource_schemas())) == []


def test_a_custom_resource_with_a_field_that_does_not_exist_is_told(overlays: Overlays) -> None:
    folder = resource_schemas()
    (runtime,) = of_kind(overlays["kind"], "ServingRuntime")
    broken = {**runtime, "spec": {**runtime["spec"], "replicaz": 1}}
    (told,) = schemas.custom_breaches([broken], folder)
    assert "replicaz" in told


def test_the_example_is_valid_and_names_what_there_is(overlays: Overlays) -> None:
    example = yaml.safe_load((ROOT / "manifests" / "examples" / "inferenceservice.yaml").read_text())
    assert list(schemas.custom_breaches([example], resource_schemas())) == []
    predictor = example["spec"]["predictor"]
    names = {(each["kind"], each["metadata"]["name"]) for each in overlays["kind"]}
    assert ("ServingRuntime", predictor["model"]["runtime"]) in names
    assert ("ServiceAccount", predictor["serviceAccountName"]) in names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_it_breaks_no_rule(overlays: Overlays, name: str, rule: Rule) -> None:
    assert list(rule(beside_secrets(overlays[name]))) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_have_something_to_judge(overlays: Overlays, name: str) -> None:
    rendered = beside_secrets(overlays[name])
    owners = {pod.owner.split("/")[0] for pod in rendered.pods}
    assert {"Deployment", "StatefulSet", "Job", "CronJob", "ServingRuntime"} <= owners
    flows = {
        (pod.labels["app.kubernetes.io/name"], address.service)
        for pod in rendered.pods
        for text in texts_of(pod, rendered)
        for address in addresses(text)
    }
    wanted = {("mlflow", "postgres"), ("mlflow", "minio"), ("mlflow-migrate", "postgres"), ("minio-setup", "minio")}
    assert wanted | {("postgres-backup", "minio"), ("postgres-backup", "postgres")} <= flows


STEP = End("deepperception-runs", {"app.kubernetes.io/component": "step"})
IMPORT = End("deepperception-runs", {"deepperception.io/imports-models": "true"})
WORKER = End("deepperception-runs", {"app.kubernetes.io/component": "trainjob"})
SERVER = End("deepperception-serving", {"app.kubernetes.io/component": "server"})
STRANGER = End("default", {"app.kubernetes.io/component": "server"})
KUBEFLOW = End("kubeflow", {"app": "ml-pipeline"})
STORE, DATABASE, MLFLOW = (
    End("deepperception", {"app.kubernetes.io/name": each}) for each in ("minio", "postgres", "mlflow")
)
CONNECTIONS = [
    (STEP, STORE, 9000, True, "artifacts"),
    (STEP, MLFLOW, 5000, True, "records"),
    (STEP, KUBEFLOW, 8888, True, "KFP's launcher reports"),
    (STEP, SERVER, 8080, True, "golden pictures"),
    (STEP, DATABASE, 5432, False, "MLflow alone asks its database"),
    (STEP, STEP, 29500, False, "steps do not talk to each other"),
    (WORKER, WORKER, 40123, True, "NCCL chooses its ports"),
    (SERVER, STORE, 9000, True, "the storage initializer"),
    (SERVER, MLFLOW, 5000, False, "a server needs no records"),
    (SERVER, STEP, 8080, False, "nor a step"),
    (KUBEFLOW, STORE, 9000, True, "KFP shows artifacts"),
    (KUBEFLOW, MLFLOW, 5000, False, "KFP does not write records"),
    (STRANGER, STORE, 9000, False, "another namespace"),
    (STRANGER, MLFLOW, 5000, False, "another namespace"),
    (STRANGER, SERVER, 8080, False, "another namespace, not the edge"),
    (IMPORT, MLFLOW, 5000, True, "the import step is a step"),
    (MLFLOW, SERVER, 8080, False, "MLflow starts nothing"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("source", "sink", "port", "wanted", "why"), CONNECTIONS, ids=[each[-1] for each in CONNECTIONS]
)
def test_who_may_talk_to_whom(
    overlays: Overlays, name: str, source: End, sink: End, port: int, wanted: bool, why: str
) -> None:
    rendered = beside_secrets(overlays[name])
    both = allows(rendered, "Egress", source, sink, port) and allows(rendered, "Ingress", sink, source, port)
    assert both is wanted, why


@pytest.mark.parametrize("name", NAMES)
def test_namespaces_are_restricted_denied_and_bounded(overlays: Overlays, name: str) -> None:
    objects = overlays[name]
    for namespace in of_kind(objects, "Namespace"):
        own = namespace["metadata"]["name"]
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        inside = {
            (each["kind"], each["metadata"]["name"]) for each in objects if each["metadata"].get("namespace") == own
        }
        assert {("NetworkPolicy", "default-deny"), ("ResourceQuota", "ceiling"), ("LimitRange", "defaults")} <= inside


@pytest.mark.parametrize("name", NAMES)
def test_every_container_of_a_server_is_probed(overlays: Overlays, name: str) -> None:
    for thing in of_kind(overlays[name], "Deployment", "StatefulSet"):
        for container in thing["spec"]["template"]["spec"]["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), title(thing)


@pytest.mark.parametrize("name", NAMES)
def test_the_quotas_have_room_for_all_that_runs_at_once(overlays: Overlays, name: str) -> None:
    objects = overlays[name]
    for quota in of_kind(objects, "ResourceQuota"):
        own = quota["metadata"]["namespace"]
        templates = [
            each["spec"]["template"]["spec"]
            for each in of_kind(objects, "Deployment", "StatefulSet", "Job")
            if each["metadata"]["namespace"] == own
        ]
        for resource in ("cpu", "memory"):
            needed = sum(
                amount(each["resources"]["limits"][resource]) for spec in templates for each in spec["containers"]
            )
            assert needed <= amount(quota["spec"]["hard"][f"limits.{resource}"]), (own, resource)


def amount(quantity: str) -> float:
    units = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    for unit, factor in units.items():
        if quantity.endswith(unit):
            return float(quantity.removesuffix(unit)) * factor
    return float(quantity)


def test_only_the_gpu_overlay_asks_for_gpus(overlays: Overlays) -> None:
    def asks(objects: list[Object]) -> bool:
        return "nvidia.com/gpu" in yaml.safe_dump(objects)

    assert (asks(overlays["kind"]), asks(overlays["gpu"])) == (False, True)


def test_one_host_name_reaches_the_ingress_its_certificate_and_mlflow(overlays: Overlays) -> None:
    (ingress,) = of_kind(overlays["gpu"], "Ingress")
    host = ingress["spec"]["rules"][0]["host"]
    assert ingress["spec"]["tls"][0]["hosts"] == [host]
    settings = [each for each in of_kind(overlays["gpu"], "ConfigMap") if "mlflow-settings" in each["metadata"]["name"]]
    hosts = {
        name: set(each["data"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(","))
        for name, each in zip("a", settings, strict=True)
    }
    (plain,) = [
        each for each in of_kind(overlays["kind"], "ConfigMap") if "mlflow-settings" in each["metadata"]["name"]
    ]
    assert hosts["a"] - set(plain["data"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")) == {host}


def test_images_have_one_home() -> None:
    home = yaml.safe_load((ROOT / "manifests" / "images" / "kustomization.yaml").read_text())
    known = {each["name"] for each in home["images"]}
    named: set[Any] = set()
    for path in (ROOT / "manifests").rglob("*.yaml"):
        named |= {
            line.split("image:")[1].strip()
            for line in path.read_text().splitlines()
            if line.lstrip().startswith("image:")
        }
    assert named == known, "files name images without a version; manifests/images gives it"
