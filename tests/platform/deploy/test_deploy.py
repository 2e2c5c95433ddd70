"""The whole deploy against a stand-in for kubectl: no machine that runs these tests has a cluster."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from deepperception.errors import InfrastructureError, InputError
from deepperception.platform.deploy.kubectl import Kubectl
from deepperception.platform.deploy.objects import Object
from deepperception.platform.deploy.run import deploy, undeploy


def deployed(cluster: Any, said: list[str], **changes: Any) -> None:
    deploy(dataclasses.replace(cluster.options, **changes), Kubectl(), said.append, poll_s=0)


def verbs(cluster: Any) -> list[str]:
    return [next(part for part in call["arguments"] if not part.startswith("--")) for call in cluster.calls()]


def secret(cluster: Any, name: str, namespace: str = "deepperception") -> dict[str, str]:
    data = cluster.state[f"secret/{namespace}/{name}"]["object"]["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def of(objects: list[Object], kind: str, name: str) -> Any:
    return next(each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name)


def test_the_first_time_each_wave_stands_before_the_next(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said)
    applied = [json.loads(call["stdin"])["items"] for call in cluster.calls("apply")]
    kinds = [{each["kind"] for each in wave} for wave in applied]
    assert kinds[0] == {"Namespace"}
    assert kinds[2:] == [{"StatefulSet"}, {"Job"}, {"Deployment"}, {"Ingress"}]
    order = verbs(cluster)
    assert order.index("create") > order.index("apply"), "a Secret needs its namespace"
    assert [line for line in said if "ready" in line] == [
        "StatefulSet/db in deepperception: ready (1 of 1)",
        "Deployment/front in deepperception: ready (1 of 1)",
    ]
    assert any("port-forward" in line or line.startswith("MLflow: https://front.test") for line in said)


def test_again_nothing_changes_and_nothing_is_written(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said)
    before = cluster.state
    cluster.forget_calls()
    said.clear()
    deployed(cluster, said)
    assert "no change" in said
    assert set(verbs(cluster)) == {"kustomize", "version", "get", "diff"}
    assert cluster.state == before


def test_secrets_are_made_once_and_never_shown(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said)
    made = secret(cluster, "postgres")["POSTGRES_PASSWORD"]
    assert len(made) == 48
    assert made in secret(cluster, "mlflow")["MLFLOW_BACKEND_STORE_URI"]
    users, steps = secret(cluster, "minio-users"), secret(cluster, "deepperception-store", "deepperception-runs")
    assert steps == {"AWS_ACCESS_KEY_ID": "models", "AWS_SECRET_ACCESS_KEY": users["models-secret-key"]}
    values = {value for value in [*secret(cluster, "mlflow").values(), *users.values(), made] if len(value) == 48}
    assert len(values) == 8, "no two are alike"
    shown = "\n".join(said) + json.dumps([call["arguments"] for call in cluster.calls()])
    assert not [value for value in values if value in shown]
    del_state = cluster.state
    del_state.pop("deployment/deepperception/front")
    (cluster.place / "state.json").write_text(json.dumps(del_state))
    deployed(cluster, said)
    assert secret(cluster, "postgres")["POSTGRES_PASSWORD"] == made


def test_a_secret_that_lacks_a_key_gets_it_and_keeps_the_others(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said)
    state, before = cluster.state, secret(cluster, "minio-users")
    del state["secret/deepperception/minio-users"]["object"]["data"]["backups-secret-key"]
    (cluster.place / "state.json").write_text(json.dumps(state))
    said.clear()
    deployed(cluster, said)
    assert "+ Secret/minio-users in deepperception: backups-secret-key" in said
    after = secret(cluster, "minio-users")
    assert {**after, "backups-secret-key": ""} == {**before, "backups-secret-key": ""}
    assert len(after["backups-secret-key"]) == 48


def test_a_secret_changed_by_hand_is_told_and_kept(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said)
    state, place = cluster.state, "secret/deepperception-runs/deepperception-store"
    state[place]["object"]["data"]["AWS_SECRET_ACCESS_KEY"] = base64.b64encode(b"mine").decode()
    (cluster.place / "state.json").write_text(json.dumps(state))
    deployed(cluster, said)
    assert any(line.startswith("! Secret/deepperception-store in deepperception-runs") for line in said)
    assert secret(cluster, "deepperception-store", "deepperception-runs")["AWS_SECRET_ACCESS_KEY"] == "mine"


def test_a_change_is_shown_and_applied(cluster: Any, said: list[str], world: list[Object]) -> None:
    deployed(cluster, said)
    of(world, "Deployment", "front")["spec"]["replicas"] = 1
    cluster.render(world)
    said.clear()
    deployed(cluster, said)
    assert "+++ deployment/deepperception/front" in said
    assert "no change" not in said
    assert cluster.state["deployment/deepperception/front"]["object"]["spec"]["replicas"] == 1


def test_a_changed_job_runs_anew_under_its_own_name_and_the_old_one_goes(
    cluster: Any, said: list[str], world: list[Object]
) -> None:
    def jobs() -> list[str]:
        return [name for name in cluster.state if name.startswith("job/")]

    deployed(cluster, said)
    before = jobs()
    of(world, "Job", "migrate")["spec"]["backoffLimit"] = 3
    cluster.render(world)
    deployed(cluster, said)
    assert len(before) == len(jobs()) == 1
    assert before != jobs()


def test_a_rotated_password_runs_the_jobs_that_read_it(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said)
    state = cluster.state
    before = [name for name in state if name.startswith("job/")]
    state["secret/deepperception/postgres"]["object"]["data"]["POSTGRES_PASSWORD"] = base64.b64encode(b"new").decode()
    (cluster.place / "state.json").write_text(json.dumps(state))
    deployed(cluster, said)
    assert before != [name for name in cluster.state if name.startswith("job/")]


def test_a_dry_run_prints_everything_and_touches_nothing(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said, dry_run=True)
    assert set(verbs(cluster)) <= {"kustomize", "version", "get", "diff"}
    text = "\n".join(said)
    for part in ("kind: StatefulSet", "+ Deployment/front", "+ Secret/postgres", "nothing was touched"):
        assert part in text


def test_a_dry_run_needs_no_cluster(cluster: Any, said: list[str]) -> None:
    cluster.go_away()
    deployed(cluster, said, dry_run=True)
    assert set(verbs(cluster)) == {"kustomize", "version"}
    text = "\n".join(said)
    for part in ("kind: StatefulSet", "no cluster answers", "Secret/postgres in deepperception (POSTGRES_PASSWORD)"):
        assert part in text


def test_without_a_cluster_it_says_so(cluster: Any, said: list[str]) -> None:
    cluster.go_away()
    with pytest.raises(InfrastructureError, match="no cluster answers kubectl"):
        deployed(cluster, said)


def test_a_broken_overlay_is_told_whole_before_the_cluster_is_asked(
    cluster: Any, said: list[str], world: list[Object]
) -> None:
    of(world, "Deployment", "front")["spec"]["template"]["spec"]["containers"][0]["image"] = "front:latest"
    of(world, "Service", "db")["spec"]["selector"] = {"app": "other"}
    cluster.render(world)
    with pytest.raises(InputError, match="not fit to deploy") as told:
        deployed(cluster, said)
    assert "front:latest" in str(told.value)
    assert "selects no pod" in str(told.value)
    assert verbs(cluster) == ["kustomize"]


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("kserve/controller:v0.20.1", "KServe is of version 0.20.1; upgrade it to 0.21.0 or newer"),
        (None, "KServe is not installed"),
    ],
)
def test_a_prerequisite_that_is_missing_or_old_stops_the_deploy(
    cluster: Any, said: list[str], installed: Callable[[str], Object], image: str | None, sentence: str
) -> None:
    (cluster.place / "state.json").unlink()
    if image:
        cluster.install(installed(image))
    with pytest.raises(InfrastructureError, match=sentence):
        deployed(cluster, said)
    assert not cluster.calls("apply", "create")


def test_an_old_kubernetes_stops_the_deploy(cluster: Any, said: list[str]) -> None:
    text = cluster.options.prerequisites.read_text()
    cluster.options.prerequisites.write_text(text.replace('oldest: "1.31"', 'oldest: "1.33"'))
    with pytest.raises(InfrastructureError, match=r"the cluster runs Kubernetes 1\.32; 1\.33 is the oldest"):
        deployed(cluster, said)


def test_what_is_not_ready_is_named_with_its_reason(cluster: Any, said: list[str]) -> None:
    cluster.trouble("db", {"replicas": 1})
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "registry/name:1.0"'}
    state = {"containerStatuses": [{"name": "db", "state": {"waiting": waiting}}]}
    meta = {"name": "db-0", "namespace": "deepperception", "labels": {"app": "db"}}
    cluster.install({"kind": "Pod", "metadata": meta, "status": state})
    with pytest.raises(InfrastructureError) as told:
        deployed(cluster, said, deadline_s=0)
    assert "StatefulSet/db in deepperception: 0 of 1 ready: db ImagePullBackOff: Back-off pulling" in str(told.value)
    assert "deployment/deepperception/front" not in cluster.state, "the next waves wait"


def test_a_failed_job_stops_the_deploy_with_its_last_lines(cluster: Any, said: list[str]) -> None:
    with pytest.raises(InfrastructureError, match="no route to host"):
        _deploy_with_failing_job(cluster, said)
    assert "deployment/deepperception/front" not in cluster.state


def test_once_the_reason_is_mended_the_deploy_goes_on(cluster: Any, said: list[str]) -> None:
    with pytest.raises(InfrastructureError):
        _deploy_with_failing_job(cluster, said)
    made = secret(cluster, "postgres")
    (cluster.place / "trouble.json").unlink()
    said.clear()
    deployed(cluster, said)
    assert [line for line in said if line.endswith("it had failed, and runs anew")]
    assert "deployment/deepperception/front" in cluster.state
    assert secret(cluster, "postgres") == made


def _deploy_with_failing_job(cluster: Any, said: list[str]) -> None:
    from deepperception.platform.deploy import secrets
    from deepperception.platform.deploy.objects import render
    from deepperception.platform.deploy.waves import with_named_jobs

    deploy(dataclasses.replace(cluster.options, dry_run=True), Kubectl(), said.append)
    keys = secrets.planned({}, make=lambda: "0" * 48)
    for each in keys:
        cluster.install({"kind": "Namespace", "metadata": {"name": each.namespace}})
    for each in keys:
        data = {name: base64.b64encode(value.encode()).decode() for name, value in each.data.items()}
        cluster.install({"kind": "Secret", "metadata": {"name": each.name, "namespace": each.namespace}, "data": data})
    values = {(each.namespace, each.name): each.data for each in keys}
    (job,) = (
        each for each in with_named_jobs(render(Kubectl(), cluster.options.overlay), values) if each["kind"] == "Job"
    )
    condition = {"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}
    cluster.trouble(job["metadata"]["name"], {"conditions": [condition]})
    deployed(cluster, said)


def test_a_placeholder_host_is_not_deployed(cluster: Any, said: list[str], world: list[Object]) -> None:
    ingress = of(world, "Ingress", "front")
    ingress["spec"]["rules"][0]["host"] = "mlflow.example.org"
    cluster.render(world)
    with pytest.raises(InputError, match=r"mlflow\.example\.org is a placeholder"):
        deployed(cluster, said)
    assert not cluster.calls("apply")


def test_undeploy_keeps_data_and_a_later_deploy_goes_on_with_it(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said)
    made = secret(cluster, "postgres")
    undeploy(cluster.options.overlay, Kubectl(), said.append, delete_data=False, dry_run=False)
    left = {name.split("/")[0] for name in cluster.state if "/kserve/" not in name}
    assert left == {"namespace", "secret", "persistentvolumeclaim"}
    deployed(cluster, said)
    assert secret(cluster, "postgres") == made


def test_undeploy_takes_data_only_when_told(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said)
    undeploy(cluster.options.overlay, Kubectl(), said.append, delete_data=True, dry_run=False)
    assert not [name for name in cluster.state if "deepperception/" in name]


def test_undeploy_touches_nothing_in_a_dry_run(cluster: Any, said: list[str]) -> None:
    deployed(cluster, said)
    before = cluster.state
    undeploy(cluster.options.overlay, Kubectl(), said.append, delete_data=True, dry_run=True)
    assert cluster.state == before
    assert "- StatefulSet/db in deepperception" in said


def test_an_overlay_that_is_not_there_is_told_with_those_that_are(cluster: Any, said: list[str]) -> None:
    with pytest.raises(InputError, match=r"there is no such overlay \(there are: overlay\)"):
        deployed(cluster, said, overlay=cluster.options.overlay.parent / "gup")
