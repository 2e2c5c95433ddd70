"""What `check` says of what others have installed in the cluster."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from deepperception.faults import Collector
from deepperception.infra import load_infra
from deepperception.platform.installed import check_cluster_components, check_pipelines, wanted

GOLDEN = Path(__file__).parents[1] / "pipelines" / "golden"
PLAIN, NODES = load_infra(GOLDEN / "infra.yaml"), load_infra(GOLDEN / "nodes" / "infra.yaml")
KUBECTL = """#!{python}
import json, sys
words = [word for word in sys.argv[1:] if not word.startswith("--")]
installed = json.loads({installed!r})
if words[:2] == ["config", "current-context"]:
    print("mine")
elif installed is None:
    sys.exit("error: the server has asked for the client to provide credentials")
elif words[0] == "version":
    print(json.dumps({{"serverVersion": {{"major": "1", "minor": "32"}}}}))
elif words[1] == "customresourcedefinitions":
    print("{{}}" if words[2].split(".")[0] != "certificates" or "cert-manager" in installed else "")
elif words[2] in installed:
    image = "registry.invalid/x:v" + installed[words[2]]
    print(json.dumps({{"spec": {{"template": {{"spec": {{"containers": [{{"image": image}}]}}}}}}}}))
"""
ALL = {"ml-pipeline": "2.17.0", "kserve-controller-manager": "0.21.0", "cert-manager": "1.19.1"}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a kubectl on the path that knows these Deployments; None: one that is not let in."""

    def of(installed: dict[str, str] | None) -> None:
        program = tmp_path / "bin" / "kubectl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(KUBECTL.format(python=sys.executable, installed=json.dumps(installed)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent))
        (tmp_path / "config").touch()
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))

    return of


def ask(infra=PLAIN) -> tuple[list[str], list[str]]:
    found = Collector()
    return list(check_cluster_components(infra, found)), [str(fault) for fault in found.faults]


def test_what_is_there_is_named_with_its_cluster(cluster) -> None:
    cluster(ALL)
    assert ask() == (
        ["kubectl's context mine has Kubeflow Pipelines, KServe, cert-manager, all of them new enough"],
        [],
    )


def test_everything_missing_or_too_old_is_told_at_once(cluster) -> None:
    cluster({"ml-pipeline": "2.5.0", "kserve-controller-manager": "0.19.0"})
    told, faults = ask()
    assert told == []
    assert len(faults) == 3
    assert "Kubeflow Pipelines is of version 2.5.0; upgrade it to 2.17.0 or newer. (kubectl's context mine)" in faults
    assert any(fault.startswith("KServe is of version 0.19.0") for fault in faults)
    assert any(fault.startswith("cert-manager is not installed") for fault in faults)


def test_trainer_is_asked_for_only_where_a_stage_has_several_nodes(cluster) -> None:
    cluster(ALL)
    _, faults = ask(NODES)
    assert len(faults) == 1
    assert faults[0].startswith("Kubeflow Trainer is not installed")


def test_a_cluster_that_does_not_let_us_look_is_no_fault_of_the_run(cluster) -> None:
    cluster(None)
    (line,), faults = ask()
    assert "not asked: the cluster itself (kubectl version" in line
    assert faults == []


def test_without_a_kubeconfig_it_says_that_it_did_not_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    told, faults = ask()
    assert told == [
        "not asked: the cluster itself (no kubeconfig here); what is installed (Kubeflow Pipelines, KServe, "
        "cert-manager, Kubeflow Trainer) is not known"
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("tag", "said", "faults"),
    [("2.17.0", "version 2.17.0", 0), ("v2.18.1", "version 2.18.1", 0), ("2.4.1", "version 2.4.1", 1),
     ("unknown", "of a version that it does not tell", 0)],
)  # fmt: skip
def test_the_api_tells_its_own_version(kfp_api, cluster_api, tag: str, said: str, faults: int) -> None:
    kfp_api.tag, found = tag, Collector()
    assert check_pipelines(cluster_api, found) == said
    assert len(found.faults) == faults


@pytest.fixture
def cluster_api(kfp_api):
    from deepperception.infra_pools import Kubeflow
    from deepperception.platform.kubeflow import Pipelines

    return Pipelines(Kubeflow(endpoint=kfp_api.url))


def test_the_file_that_came_with_the_release_is_the_deploys_own() -> None:
    own = Path(__file__).parents[2] / "manifests" / "prerequisites.yaml"
    from deepperception.platform.deploy import prerequisites

    assert wanted() == prerequisites.load(own)
