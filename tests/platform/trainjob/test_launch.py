"""A launcher and everything that a cluster may do to it, against a stand-in of Kubernetes' API over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from services.trainjob_launcher import OUTPUTS, SCHEMA, Launcher

from deepperception.errors import InfrastructureError, InputError, Preempted
from deepperception.infra import Infra
from deepperception.platform.trainjob.render import SPEC

Make = Callable[..., Launcher]


def test_a_job_that_completes_hands_on_its_result(api: Any, launcher: Make, capsys: pytest.CaptureFixture[str]) -> None:
    one = launcher().start()
    job = one.job()
    pod = api.runs(one.name)
    api.runs(one.name, index=1)
    api.logs_line(pod, "» cot_sft: step: 1/2")
    api.until(lambda: f"GET pods/{pod}/log" in api.asked)
    api.logs_line(pod, "» cot_sft: step: 2/2")
    api.runs(one.name, phase="Succeeded", ended={"exitCode": 0, "reason": "Completed"})
    outputs = one.completes()
    assert outputs["policy"]["metadata"] == OUTPUTS["policy"]["metadata"]
    (beside,) = outputs["policy"]["beside"]
    assert yaml.safe_load(Path(beside).read_text())["spec"]["trainer"] == job["spec"]["trainer"]
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if "step:" in line] == ["» cot_sft: step: 1/2", "» cot_sft: step: 2/2"]
    assert not [asked for asked in api.asked if asked.startswith("DELETE")]


def test_what_is_posted_is_checked(api: Any, launcher: Make) -> None:
    if not SCHEMA.is_file():
        pytest.skip(f"{SCHEMA} is not there: TrainJobs cannot be checked against Trainer's schema")
    broken = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": {"name": "a"}, "spec": {}}
    with api.changed:
        api.create(broken)
    assert api.violations == ["spec: 'runtimeRef' is a required property"]
    api.violations.clear()


def test_a_queue_may_hold_it_and_let_it_go(api: Any, launcher: Make) -> None:
    one = launcher().start()
    assert one.job()["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    api.says(one.name, "Suspended", "Suspended")
    api.until(lambda: any("suspended" in line for line in one.said))
    api.says(one.name, "Suspended", "Resumed", status="False")
    api.until(lambda: any("goes on" in line for line in one.said))
    one.completes()


def test_a_queue_may_hold_it_for_too_long(api: Any, launcher: Make, two_nodes: Infra) -> None:
    impatient = two_nodes.stages["sft"].model_copy(update={"queue_wait_s": 1})
    one = launcher(two_nodes.model_copy(update={"stages": {**two_nodes.stages, "sft": impatient}})).start()
    one.job()
    api.says(one.name, "Suspended", "Suspended")
    error = one.fails()
    assert isinstance(error, Preempted) and "queue_wait_s" in str(error)
    assert api.jobs == {}


def test_the_error_of_the_process_that_failed_first_is_the_steps(api: Any, launcher: Make) -> None:
    one = launcher().start()
    one.job()
    one.words.fail({"error": "InputError", "message": "sft.parquet, row 3: no reasoning.", "exit_code": 1})
    one.words.fail({"error": "Exception", "message": "RuntimeError: Connection closed by peer", "exit_code": 3})
    api.says(one.name, "Failed", "JobsFailed")
    error = one.fails()
    assert (type(error), str(error)) == (InputError, "sft.parquet, row 3: no reasoning.")


FAILURES: list[tuple[str, dict[str, Any], type[Exception], list[str]]] = [
    ("a crash", {"ended": {"exitCode": 1, "reason": "Error"}}, InfrastructureError,
     ["node 1 ended with exit code 1, Error", "last lines of", "node-0-1", "RuntimeError: NCCL | Aborted"]),
    ("no memory", {"ended": {"exitCode": 137, "reason": "OOMKilled"}}, InputError,
     ["ran out of its 64Gi of memory", "pools.gpu.memory"]),
    ("a drained node", {"ended": {"exitCode": 143, "reason": "Error"},
                        "conditions": [{"type": "DisruptionTarget", "status": "True"}]}, Preempted,
     ["took node 1 away"]),
]  # fmt: skip


@pytest.mark.parametrize(("why", "status", "kind", "said"), FAILURES, ids=[each[0] for each in FAILURES])
def test_a_job_that_fails_without_a_word_is_told_by_its_pods(
    api: Any, launcher: Make, why: str, status: dict[str, Any], kind: type[Exception], said: list[str]
) -> None:
    one = launcher().start()
    one.job()
    api.runs(one.name, phase="Running")
    pod = api.runs(one.name, index=1, phase="Failed", **status)
    for line in ("step 1", "RuntimeError: NCCL", "Aborted"):
        api.logs_line(pod, line)
    api.runs(one.name, phase="Failed", ended={"exitCode": 0})
    api.says(one.name, "Failed", "JobsFailed", "jobset failed due to one or more job failures")
    error = one.fails()
    assert type(error) is kind
    assert all(part in str(error) for part in said), error


def test_a_job_without_pods_is_told_by_what_kubernetes_complained_of(api: Any, launcher: Make) -> None:
    one = launcher().start()
    one.job()
    quota: dict[str, Any] = {"reason": "FailedCreate", "type": "Warning", "message": "exceeded quota: ceiling"}
    quota |= {"involvedObject": {"name": f"{one.name}-node-0"}, "metadata": {"name": "e"}}
    api.events += [{**quota, "involvedObject": {"name": "another-node-0"}, "message": "of no interest"}, quota]
    api.until(lambda: "no node has started yet: FailedCreate: exceeded quota: ceiling" in one.said)
    api.says(one.name, "Failed", "JobsFailed")
    assert "exceeded quota: ceiling" in str(one.fails())


def test_a_pod_that_cannot_start_is_said(api: Any, launcher: Make) -> None:
    one = launcher().start()
    one.job()
    no_room = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient gpu."}
    api.runs(one.name, phase="Pending", conditions=[no_room])
    api.until(lambda: "node 0 does not start yet: 0/3 nodes are available: 3 Insufficient gpu." in one.said)
    api.runs(one.name, phase="Pending", waiting="ImagePullBackOff")
    api.until(lambda: "node 0 does not start yet: ImagePullBackOff" in one.said)
    one.completes()


def test_a_deadline_is_the_users_to_raise(api: Any, launcher: Make) -> None:
    one = launcher().start()
    assert one.job()["spec"]["activeDeadlineSeconds"] == 7200
    api.says(one.name, "Failed", "DeadlineExceeded")
    error = one.fails()
    assert isinstance(error, InputError) and "7200 s; raise stages.cot_sft.timeout_s" in str(error)


def test_a_runtime_that_is_not_supported_is_told(api: Any, launcher: Make) -> None:
    one = launcher().start()
    one.job()
    api.says(one.name, "Failed", "TrainingRuntimeNotSupported", "there is no such runtime")
    error = one.fails()
    assert isinstance(error, InputError) and "there is no such runtime" in str(error)


@pytest.mark.parametrize("lingers", [False, True], ids=["at once", "with its pods"])
def test_a_job_that_somebody_deletes_may_be_made_anew(api: Any, launcher: Make, lingers: bool) -> None:
    one = launcher().start()
    one.job()
    if lingers:
        api.lingers = True
        with api.changed:
            api.delete(one.name)
    else:
        api.removes(one.name)
    error = one.fails()
    assert isinstance(error, Preempted) and "deleted while it ran" in str(error)
    again = launcher().start()
    if lingers:
        api.until(lambda: any("on its way out" in line for line in again.said))
        api.bury()
    api.until(lambda: api.asked.count("POST trainjobs") == 2)
    again.completes()


def test_an_api_that_is_away_for_a_while_delays(api: Any, launcher: Make) -> None:
    one = launcher()
    api.down = 3
    one.start().job()
    with api.changed:
        api.down = 4
    api.until(lambda: api.down == 0)
    one.completes()
    assert len([line for line in one.said if line.startswith("waiting: Kubernetes' API")]) >= 1
    assert "the API is back" in one.said
    assert api.asked.count("POST trainjobs") == 1


def test_an_api_that_stays_away_is_the_infrastructures_fault(api: Any, launcher: Make) -> None:
    from dataclasses import replace

    one = launcher()
    one.tools = replace(one.tools, pace=replace(one.tools.pace, patience_s=0.0))
    api.refusal = (503, "apiserver is shutting down")
    error = one.start().fails()
    assert isinstance(error, InfrastructureError) and "apiserver is shutting down" in str(error)


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (403, "trainjobs is forbidden: User cannot list", "manifests/components/gpu"),
        (404, "the server could not find the requested resource", "install Kubeflow Trainer"),
        (422, "admission webhook denied: runtimeRef", "mend what it names"),
    ],
)
def test_a_refusal_is_final(api: Any, launcher: Make, status: int, message: str, said: str) -> None:
    api.refusal = (status, message)
    error = launcher().start().fails()
    assert isinstance(error, InputError)
    assert message in str(error) and said in str(error)


def test_a_second_attempt_adopts_what_the_first_has_made(api: Any, launcher: Make) -> None:
    first = launcher().start()
    first.job()
    second = launcher().start()
    api.until(lambda: any("found the TrainJob" in line for line in second.said))
    second.completes()
    assert api.asked.count("POST trainjobs") == 1


def test_another_run_of_the_same_is_no_other_spec(api: Any, launcher: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPPERCEPTION_RUN", "flow-1")
    first = launcher().start()
    names = {each["name"]: each.get("value") for each in first.job()["spec"]["trainer"]["env"]}
    assert names["DEEPPERCEPTION_RUN"] == "flow-1"
    monkeypatch.setenv("DEEPPERCEPTION_RUN", "flow-2")
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    second = launcher().start()
    api.until(lambda: any("found the TrainJob" in line for line in second.said))
    second.completes()


def test_a_result_is_not_made_twice(api: Any, launcher: Make) -> None:
    first = launcher().start()
    first.job()
    first.completes()
    assert launcher().start().finish()["policy"]["metadata"] == OUTPUTS["policy"]["metadata"]
    assert api.asked.count("POST trainjobs") == 1


def test_a_failed_job_makes_room_for_the_next_attempt(api: Any, launcher: Make) -> None:
    first = launcher().start()
    first.job()
    first.words.fail({"error": "Preempted", "message": "told to stop.", "exit_code": 75})
    api.says(first.name, "Failed", "JobsFailed")
    assert isinstance(first.fails(), Preempted)
    second = launcher().start()
    api.until(lambda: api.asked.count("POST trainjobs") == 2)
    assert second.words.failure() is None, "the next failure is told by its own words"
    second.completes()


def test_a_job_under_way_that_asks_for_something_else_is_left_alone(api: Any, launcher: Make, two_nodes: Infra) -> None:
    launcher().start().job()
    larger = two_nodes.stages["sft"].model_copy(update={"nodes": 3})
    other = launcher(two_nodes.model_copy(update={"stages": {**two_nodes.stages, "sft": larger}}))
    error = other.start().fails()
    assert isinstance(error, InputError) and f"kubectl delete trainjob {other.name}" in str(error)
    (job,) = api.jobs.values()
    assert job["spec"]["trainer"]["numNodes"] == 2
    assert not [asked for asked in api.asked if asked.startswith("DELETE")]


def test_a_finished_job_that_asked_for_something_else_makes_room(api: Any, launcher: Make, two_nodes: Infra) -> None:
    first = launcher().start()
    asked = first.job()["metadata"]["annotations"][SPEC]
    first.completes()
    larger = two_nodes.stages["sft"].model_copy(update={"nodes": 3})
    other = launcher(two_nodes.model_copy(update={"stages": {**two_nodes.stages, "sft": larger}})).start()
    api.until(lambda: api.jobs.get(other.name, {}).get("spec", {}).get("trainer", {}).get("numNodes") == 3)
    assert other.job()["metadata"]["annotations"][SPEC] != asked
    other.completes()


def test_complete_without_a_result_is_told(api: Any, launcher: Make) -> None:
    one = launcher().start()
    one.job()
    api.says(one.name, "Complete", "JobsCompleted")
    error = one.fails()
    assert isinstance(error, InfrastructureError) and "deepperception-work" in str(error)


STEP = """
import sys
from pathlib import Path
from kubernetes import client
from deepperception.infra import Infra
from deepperception.platform.attempts import attempt
from deepperception.platform.trainjob.api import KubernetesApi
from deepperception.platform.trainjob.launch import launch
from deepperception.platform.trainjob.wait import Tools
from deepperception.platform.workplace import Workplace
from deepperception.recipe import load_recipe

url, infra = sys.argv[1:]
inputs = {"model": {"uri": "file:///m", "digest": "sha256:" + "1" * 64}}

def step():
    place = Workplace("grpo", load_recipe("bestiary", seed=7), Infra.from_json(infra), inputs)
    cluster = KubernetesApi(client.ApiClient(client.Configuration(host=url)), "deepperception-runs")
    return launch(place, Tools(cluster, place.progress.say))

reply = attempt("{}", step)
print(reply.get("message", reply.get("outputs")))
sys.exit(reply.get("exit_code", 0))
"""


def in_a_process(api: Any, infra: Infra) -> subprocess.Popen[str]:
    """A launcher that can be killed; it is of a run of a cluster."""
    command = [sys.executable, "-W", "ignore", "-c", STEP, api.url, infra.to_json()]
    environment = {**os.environ, "DEEPPERCEPTION_RUN": "flow-1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_cancelled_launcher_takes_its_job_with_it(api: Any, launcher: Make, two_nodes: Infra) -> None:
    name = launcher(stage="grpo").name
    process = in_a_process(api, two_nodes)
    api.until(lambda: name in api.jobs and "GET trainjobs (watch)" in api.asked, 60)
    process.send_signal(signal.SIGTERM)
    said, log = process.communicate(timeout=60)
    assert process.returncode == 75, log
    assert "told to stop: deleting the TrainJob" in log
    assert "Traceback" not in log
    assert api.jobs == {}
    assert "told to stop" in said


def test_a_killed_launcher_leaves_its_job_to_the_next_attempt(api: Any, launcher: Make, two_nodes: Infra) -> None:
    next_attempt = launcher(stage="grpo")
    process = in_a_process(api, two_nodes)
    api.until(lambda: next_attempt.name in api.jobs and "GET trainjobs (watch)" in api.asked, 60)
    process.kill()
    process.communicate(timeout=60)
    # The killed one's inputs are its own; the next attempt of a run is called with the same.
    next_attempt.place.given = {"model": {"uri": "file:///m", "digest": "sha256:" + "1" * 64}}
    next_attempt.start()
    api.until(lambda: any("found the TrainJob" in line for line in next_attempt.said))
    next_attempt.completes()
    assert api.asked.count("POST trainjobs") == 1
