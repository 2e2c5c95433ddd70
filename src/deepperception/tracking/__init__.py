"""Runs and registered versions in MLflow: the only code that imports it.

Everything is found again by a key or a digest, so that logging twice, or again after a kill, leaves one record. What a
dead server does not take waits in the run's work folder, and is sent later. docs/tracking.md tells the whole story.
"""

from deepperception.tracking.client import is_there
from deepperception.tracking.failures import Refused, Unavailable
from deepperception.tracking.outbox import Outbox
from deepperception.tracking.record import Pipeline, Record
from deepperception.tracking.recorder import Recorder, send_waiting
from deepperception.tracking.tracker import MODEL, PATIENCE, Tracker, Version

__all__ = [
    "MODEL",
    "PATIENCE",
    "Outbox",
    "Pipeline",
    "Record",
    "Recorder",
    "Refused",
    "Tracker",
    "Unavailable",
    "Version",
    "is_there",
    "send_waiting",
]
