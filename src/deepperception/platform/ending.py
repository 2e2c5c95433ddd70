"""The pipeline's exit handler: closes the record of a run that failed, and says what its stages left as their word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepperception.errors import DeepPerceptionError
from deepperception.platform import attempts

if TYPE_CHECKING:
    from deepperception.platform.workplace import Workplace


def ending(place: Workplace) -> dict[str, dict[str, object]]:
    """Runs after all other steps, whatever became of them. A run that succeeded has closed its record itself."""
    from deepperception.platform.workplace import pipeline_key
    from deepperception.tracking import Tracker

    status = place.inputs["status"]
    for stage, reply in attempts.failures(place.infra.work_dir).items():
        place.progress.say(f"{stage} failed with exit code {reply['exit_code']}: {reply['message']}")
    place.progress.say(" ".join(f"the stages ended: {status['state']} {status['message']}".split()))
    if status["state"] != "SUCCEEDED":
        try:
            tracker = Tracker(place.infra.tracking_uri, place.infra.experiment, create=False)
            tracker.break_off(pipeline_key(place.recipe), "KILLED" if status["state"] == "CANCELLED" else "FAILED")
        except DeepPerceptionError as error:  # why the run ended matters more than whether that can be written down
            place.progress.say(f"the record stays open: {error}")
    return {}
