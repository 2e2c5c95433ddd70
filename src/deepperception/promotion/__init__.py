"""From evaluations to the served version: the gate, the release, the way back."""

from deepperception.promotion.cluster import Cluster
from deepperception.promotion.gate import Decision, decide
from deepperception.promotion.rollback import rollback
from deepperception.promotion.run import (
    CHAMPION,
    PREVIOUS,
    Arm,
    Inputs,
    Result,
    best,
    current,
    read_evidence,
    run,
    tells_of_promotion,
)

__all__ = [
    "CHAMPION",
    "PREVIOUS",
    "Arm",
    "Cluster",
    "Decision",
    "Inputs",
    "Result",
    "best",
    "current",
    "decide",
    "read_evidence",
    "rollback",
    "run",
    "tells_of_promotion",
]
