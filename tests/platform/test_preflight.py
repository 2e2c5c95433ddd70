"""All that a run needs, looked at before a GPU is taken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from services import trainer_stand_in

from deepperception.errors import InfrastructureError, InputError
from deepperception.infra import Infra, load_infra
from deepperception.platform import preflight
from deepperception.platform.stages import execute
from deepperception.platform.trainjob.api import KubernetesApi
from deepperception.recipe import Recipe, load_recipe

GOLDEN_INFRA = Path(__file__).parents[1] / "pipelines" / "golden" / "infra.yaml"
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


def look(recipe: Recipe, infra: Infra) -> dict[str, Any]:
    return execute("preflight", recipe.to_json(), infra.to_json(), recipe.seed, {})


@pytest.fixture
def on_cluster(infra: Infra) -> Infra:
    """A laptop's places, as if pods ran there."""
    golden = load_infra(GOLDEN_INFRA)
    keys = ("runner", "images", "kubeflow", "pools", "stages")
    return infra.model_copy(update={key: getattr(golden, key) for key in keys})


@pytest.fixture
def quotas(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """What the namespace's quotas are said to be."""
    hard: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(preflight, "_quotas", lambda *_: hard)
    return hard


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "x")


def test_where_all_is_well_it_says_nothing(recipe: Recipe, infra: Infra) -> None:
    assert look(recipe, infra) == {}


def test_a_cluster_with_all_it_needs_passes(
    recipe: Recipe, on_cluster: Infra, quotas: dict[str, dict[str, str]], secrets: None
) -> None:
    quotas["runs"] = {"requests.nvidia.com/gpu": "4", "limits.memory": "64Gi", "pods": "50"}
    assert look(recipe, on_cluster) == {}


@pytest.fixture
def two_nodes(on_cluster: Infra) -> Infra:
    place = on_cluster.stages["grpo"].model_copy(update={"nodes": 2})
    return on_cluster.model_copy(update={"stages": {**on_cluster.stages, "grpo": place}})


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch) -> Iterator[trainer_stand_in.StandIn]:
    from kubernetes import client

    stand_in = trainer_stand_in.StandIn()
    with trainer_stand_in.served(stand_in) as url:
        settings = client.Configuration(host=url)
        found = KubernetesApi(client.ApiClient(settings), trainer_stand_in.NAMESPACE)
        monkeypatch.setattr(KubernetesApi, "of_this_pod", lambda _: found)
        yield stand_in


def test_where_a_training_has_two_nodes_trainer_is_looked_for(
    recipe: Recipe,
    two_nodes: Infra,
    quotas: dict[str, dict[str, str]],
    secrets: None,
    kubernetes: trainer_stand_in.StandIn,
) -> None:
    assert look(recipe, two_nodes) == {}
    assert kubernetes.asked == ["GET trainjobs"]
    kubernetes.refusal = (404, "the server could not find the requested resource")
    with pytest.raises(InputError, match=r"install Kubeflow Trainer 2\.2"):
        look(recipe, two_nodes)


def test_a_step_that_cannot_be_shared_is_told_before_a_gpu_is_taken(
    recipe: Recipe,
    two_nodes: Infra,
    quotas: dict[str, dict[str, str]],
    secrets: None,
    kubernetes: trainer_stand_in.StandIn,
) -> None:
    grpo = recipe.grpo.model_copy(update={"prompts_per_step": 1, "group_size": 5})
    with pytest.raises(InputError, match=r"grpo: 1 prompts x 5 completions .* by 2 processes"):
        look(recipe.model_copy(update={"grpo": grpo}), two_nodes)


def test_all_faults_are_told_at_once(
    tmp_path: Path,
    recipe_file: Path,
    on_cluster: Infra,
    quotas: dict[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("")
    quotas["runs"] = {"requests.nvidia.com/gpu": "0"}
    broken = on_cluster.model_copy(
        update={
            "work_dir": tmp_path / "file" / "work",
            "store": str(tmp_path / "file" / "store"),
            "tracking_uri": "http://127.0.0.1:9",
            "pools": {"gpu": on_cluster.pools["gpu"]},
        }
    )
    recipe = load_recipe(recipe_file, [f"model.base={tmp_path / 'none'}", "synthesis.source.path=/no/photos"])
    with pytest.raises(InputError) as told:
        look(recipe, broken)
    said = str(told.value).splitlines()
    for part in (
        "none: there is no such folder",
        "/no/photos",
        "work_dir: ",
        "store: ",
        "tracking_uri: http://127.0.0.1:9 does not answer",
        "there is no pool 'cpu'",
        "the secret 'deepperception-store' in deepperception-runs holds no AWS_SECRET_ACCESS_KEY",
        "the secret 'deepperception-tracking' in deepperception-runs holds no MLFLOW_TRACKING_USERNAME",
        "stages.sft: it asks for 1 x 1 nvidia.com/gpu, and the quota 'runs' allows 0",
    ):
        assert any(part in line for line in said), (part, said)


def test_only_a_dead_server_is_worth_another_attempt(recipe: Recipe, infra: Infra) -> None:
    with pytest.raises(InfrastructureError, match="does not answer"):
        look(recipe, infra.model_copy(update={"tracking_uri": "http://127.0.0.1:9"}))


@pytest.fixture
def server() -> Iterator[str]:
    """Answers 503 to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_server_that_is_not_ready_is_told_with_its_answer(server: str) -> None:
    with pytest.raises(InfrastructureError, match="answers 503 to /health"):
        preflight.check_tracking(server)


@pytest.mark.parametrize(
    ("hard", "nodes", "fits"),
    [
        ({"requests.nvidia.com/gpu": "2"}, 1, True),
        ({"requests.nvidia.com/gpu": "2"}, 3, False),
        ({"limits.memory": "63Gi"}, 1, False),
        ({"limits.memory": "65536Mi"}, 1, True),
        ({"requests.cpu": "7500m"}, 1, False),
        ({"cpu": "8"}, 1, True),
        ({"pods": "1"}, 1, True),
    ],
)
def test_what_could_never_be_scheduled_is_told(on_cluster: Infra, hard: dict[str, str], nodes: int, fits: bool) -> None:
    place = on_cluster.stages["sft"].model_copy(update={"nodes": nodes})
    faults = preflight.over_quota(on_cluster.model_copy(update={"stages": {"sft": place}}), {"runs": hard})
    assert (not faults) == fits


def test_quotas_that_may_not_be_read_are_no_fault(recipe: Recipe, on_cluster: Infra, secrets: None) -> None:
    assert look(recipe, on_cluster) == {}, "outside of a cluster there is no Kubernetes to ask"


@pytest.mark.parametrize(
    ("base", "fine"),
    [
        ("package://deepperception.bestiary/base", True),
        ("hf://Qwen/Qwen2-VL-7B-Instruct@" + "a" * 40, True),
        ("hf://Qwen/Qwen2-VL-7B-Instruct@main", False),
        ("hf://Qwen2-VL-7B-Instruct@" + "a" * 40, False),
        ("s3://models/store#sha256:" + "0" * 64, True),
        ("s3://models/store#sha256:0", False),
    ],
)
def test_a_base_model_is_told_by_its_form(base: str, fine: bool) -> None:
    if fine:
        preflight.check_base(base)
    else:
        with pytest.raises(InputError):
            preflight.check_base(base)
