"""What the step of a stage of several processes does: makes its TrainJob, waits for it, hands on what it made.

The job has one name for a run and a stage. A launcher that is killed and tried again finds the job of the attempt
before and waits on; one that is told to stop takes the job with it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deepperception.errors import DeepPerceptionError, InfrastructureError, InputError
from deepperception.infra_pools import place_of
from deepperception.platform.pods import WORK_MOUNT
from deepperception.platform.trainjob.cluster import Job
from deepperception.platform.trainjob.endings import error_of
from deepperception.platform.trainjob.log import FirstLog
from deepperception.platform.trainjob.render import (
    SPEC,
    TrainJob,
    attempt_environment,
    job_folder,
    job_name,
    render,
)
from deepperception.platform.trainjob.wait import Ending, Tools, ended
from deepperception.platform.trainjob.words import Words
from deepperception.tracking.runs import INJECTED

if TYPE_CHECKING:
    from deepperception.platform.stages import Outputs
    from deepperception.platform.workplace import Workplace

_DRAIN_S = 10.0
"""For the log's last lines, once the job has ended."""


def launch(place: Workplace, tools: Tools | None = None) -> Outputs:
    """The outputs of the stage, made by a TrainJob; raises the error of the process that failed, or of the cluster."""
    from deepperception.platform.trainjob.api import KubernetesApi

    infra, stage = place.infra, place.stage
    assert infra.kubeflow is not None, "placement_faults would have said so"
    tools = tools or Tools(KubernetesApi.of_this_pod(infra.kubeflow.namespace), place.progress.say)
    call = call_of(place)
    mount = Path(os.environ.get(WORK_MOUNT) or infra.work_dir)
    own = attempt_environment(os.environ, also=(INJECTED,))
    job = render(stage, place.recipe, infra, mount, call, own)
    name = job_name(stage, place.recipe, infra)
    words = Words(job_folder(infra, name))
    try:
        there = _obtain(tools, name, job, call, words)
        ending = _follow(tools, name, there, place)
    except KeyboardInterrupt:  # SIGTERM: the run was cancelled, or this pod is to go
        _cancel(tools, name, job)
        raise
    if ending.how == "suspended":
        tools.cluster.delete(name)
    if ending.how != "complete":
        spot = place_of(infra, stage)
        raise error_of(ending, name, stage, spot, infra.pools[spot.pool], words, tools.cluster)
    outputs = words.outputs()
    if outputs is None:
        raise InfrastructureError(
            f"the TrainJob {name} is complete and left no result in {job_folder(infra, name)}; see that its pods and "
            f"this one mount the same volume claim ({infra.kubeflow.work_claim}), or delete the job and run again."
        )
    place.progress.say(f"the TrainJob {name} is complete")
    if there.state and place.folder(stage).is_dir():
        place.store.put(place.folder(stage))  # of an earlier run; what the store still has is not sent again
    return {key: {**output, "beside": [str(words.job_file)]} for key, output in outputs.items()}


def call_of(place: Workplace) -> str:
    """What the processes of the job are to do, as `stages.execute` takes it."""
    return json.dumps(
        {
            "stage": place.stage,
            "recipe": place.whole.to_json(),
            "infra": place.infra.to_json(),
            "seed": place.whole.seed,
            "inputs": dict(place.given),
        },
        sort_keys=True,
    )


def _obtain(tools: Tools, name: str, job: TrainJob, call: str, words: Words) -> Job:
    """The job under way or complete that asks for the same, or a new one.

    One that failed, or asked for something else and is over, makes room. InputError where one that asks for something
    else is under way: nobody's training is deleted unasked.
    """
    wanted = job["metadata"]["annotations"][SPEC]
    while True:
        there, _ = tools.patiently(lambda: tools.cluster.find(name))
        if there is None:
            words.begin(call, job)
            # Where a request was cut off after it was heard, the next look finds the job.
            if made := tools.patiently(lambda: tools.cluster.create(job)):
                tools.say(f"made the TrainJob {name}")
                return made
        elif there.leaving:
            tools.say(f"waiting: the TrainJob {name} of an earlier attempt is on its way out")
            _wait_until_gone(tools, name, there)
        elif there.spec == wanted and there.state != "Failed":
            if there.state == "Complete" and words.outputs() is None:
                _make_room(tools, name, there, "its result is gone")
                continue
            tools.say(f"found the TrainJob {name} of an earlier attempt")
            return there
        elif there.state:
            _make_room(tools, name, there, "it failed" if there.spec == wanted else "it asked for something else")
        else:
            raise InputError(
                f"the TrainJob {name} is under way and asks for something else than this step (another image, size or "
                f"input); wait for it, or end it: kubectl delete trainjob {name} --namespace "
                f"{job['metadata']['namespace']}."
            )


def _make_room(tools: Tools, name: str, there: Job, why: str) -> None:
    tools.say(f"deleting the TrainJob {name} of an earlier attempt: {why}")
    tools.patiently(lambda: tools.cluster.delete(name))
    _wait_until_gone(tools, name, there)


def _wait_until_gone(tools: Tools, name: str, there: Job) -> None:
    """Its pods may still write; a new job begins when they are gone."""
    while True:
        now, version = tools.patiently(lambda: tools.cluster.find(name))
        if now is None or now.uid != there.uid:
            return
        if all(change is not None for change in tools.cluster.changes(name, version, tools.pace.look_s)):
            tools.sleep(tools.pace.first_pause_s)


def _cancel(tools: Tools, name: str, job: TrainJob) -> None:
    """Delete the job where it is this step's and not done; the pod has seconds left, so each thing is tried once."""
    try:
        there, _ = tools.cluster.find(name)
        if there is not None and there.spec == job["metadata"]["annotations"][SPEC] and there.state != "Complete":
            tools.say(f"told to stop: deleting the TrainJob {name}")
            tools.cluster.delete(name)
    except DeepPerceptionError as error:
        tools.say(f"told to stop, and the TrainJob {name} may still be there: {error}")


def _follow(tools: Tools, name: str, there: Job, place: Workplace) -> Ending:
    """Wait for the end, and show the first process's log meanwhile."""
    log = FirstLog(tools.cluster, name, lambda line: print(line, file=sys.stderr, flush=True))
    spot = place_of(place.infra, place.stage)
    ending = ended(tools, name, there.uid, spot.queue_wait_s)
    log.finish(_DRAIN_S)
    return ending
