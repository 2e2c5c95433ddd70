"""The pipeline's exit handler: sends what waits for MLflow, closes the record of a run that failed, says why it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepperception.errors import DeepPerceptionError
from deepperception.platform import attempts

if TYPE_CHECKING:
    from deepperception.platform.workplace import Workplace


def ending(place: Workplace) -> dict[str, dict[str, object]]:
    """Runs after all other steps, whatever became of them. A run that succeeded has closed its record itself."""
    from deepperception.platform.workplace import pipeline_key
    from deepperception.tracking import Tracker, send_waiting

    status = place.inputs["status"]
    for stage, reply in attempts.failures(place.infra.work_dir).items():
        place.progress.say(f"{stage} failed with exit code {reply['exit_code']}: {reply['message']}")
    place.progress.say(" ".join(f"the stages ended: {status['state']} {status['message']}".split()))
    infra = place.infra
    try:
        send_waiting(infra.tracking_uri, infra.experiment, infra.work_dir, place.progress.say)
        if status["state"] != "SUCCEEDED":
            tracker = Tracker(infra.tracking_uri, infra.experiment, create=False)
            tracker.break_off(pipeline_key(place.recipe), "KILLED" if status["state"] == "CANCELLED" else "FAILED")
    except DeepPerceptionError as error:  # why the run ended matters more than whether that can be written down
        place.progress.say(f"the record stays open: {error}")
    return {}
