"""Why a TrainJob did not complete: each end its own error, by who can mend it, with the failing pod's last lines."""

from __future__ import annotations

from deepperception import errors
from deepperception.errors import DeepPerceptionError, InfrastructureError, InputError, Preempted
from deepperception.infra_pools import Pool, StagePlace
from deepperception.platform.trainjob.cluster import Away, Cluster, Node
from deepperception.platform.trainjob.wait import DEADLINE, UNSUPPORTED, Ending
from deepperception.platform.trainjob.words import Words

_LINES = 5
_LONGEST_LINE = 200
# What a process may leave that was ended because another one was killed, and could say nothing.
_CONSEQUENCES = ("Exception", "Preempted")
_OUT_OF_MEMORY = "OOMKilled"


def error_of(
    ending: Ending, name: str, stage: str, place: StagePlace, pool: Pool, words: Words, cluster: Cluster
) -> DeepPerceptionError:
    """What to raise for a job that ended otherwise than complete."""
    if ending.how == "deleted":
        return Preempted(
            f"the TrainJob {name} was deleted while it ran, and not by this step; the next attempt makes it anew."
        )
    if ending.how == "suspended":
        return Preempted(
            f"the TrainJob {name} was suspended for {place.queue_wait_s} s, as long as stages.{stage}.queue_wait_s "
            "allows; run again when its queue has room."
        )
    assert ending.job is not None
    if ending.job.reason == DEADLINE:
        return InputError(
            f"the TrainJob {name} was not done within {place.timeout_s} s; raise stages.{stage}.timeout_s, or give "
            f"the stage more nodes.{_lines_of(_culprit(_nodes(cluster, name)), cluster)}"
        )
    if ending.job.reason == UNSUPPORTED:
        return InputError(f"the TrainJob {name} cannot run ({ending.job.message}); look at its runtime in manifests/.")
    return _of_failure(ending, name, place, pool, words, cluster)


def _of_failure(
    ending: Ending, name: str, place: StagePlace, pool: Pool, words: Words, cluster: Cluster
) -> DeepPerceptionError:
    told, nodes = words.failure(), _nodes(cluster, name)
    if told and told["error"] not in _CONSEQUENCES:
        kind: type[DeepPerceptionError] = getattr(errors, told["error"])
        return kind(told["message"])
    if any(node.reason == _OUT_OF_MEMORY for node in nodes):
        return InputError(
            f"the TrainJob {name}: a node ran out of its {pool.memory} of memory; raise pools.{place.pool}.memory, or "
            "turn down the batch."
        )
    if gone := [node for node in nodes if node.disrupted]:
        return Preempted(f"the TrainJob {name}: the cluster took node {gone[0].index} away; the next attempt goes on.")
    culprit = _culprit(nodes)
    if told and told["error"] == "Preempted":
        return Preempted(f"{told['message']}{_lines_of(culprit, cluster)}")
    what = told["message"] if told else _in_words(culprit) or _complaint(cluster, name) or ending.message
    return InfrastructureError(f"the TrainJob {name} failed ({what}).{_lines_of(culprit, cluster)}")


def _culprit(nodes: list[Node]) -> Node | None:
    """The pod that failed first; where none failed, the first node's."""
    failed = [node for node in nodes if node.exit_code]
    return min(failed, key=lambda node: (node.ended_at, node.index)) if failed else next(iter(nodes), None)


def _in_words(node: Node | None) -> str:
    if node is None or not node.exit_code:
        return ""
    return f"node {node.index} ended with exit code {node.exit_code}" + (f", {node.reason}" if node.reason else "")


def _nodes(cluster: Cluster, name: str) -> list[Node]:
    try:
        return cluster.nodes(name)
    except Away:  # why the job failed is told with what is known
        return []


def _complaint(cluster: Cluster, name: str) -> str:
    try:
        return next(reversed(cluster.warnings(name)), "")
    except Away:
        return ""


def _lines_of(node: Node | None, cluster: Cluster) -> str:
    """The last lines, in one; pods that are gone have none."""
    if node is None:
        return ""
    try:
        lines = cluster.last_lines(node.pod, _LINES)
    except DeepPerceptionError:
        return ""
    said = " | ".join(line.strip()[:_LONGEST_LINE] for line in lines if line.strip())
    return f" The last lines of {node.pod}: {said}" if said else ""
