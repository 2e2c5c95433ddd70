"""From evaluations to the served version: the gate, the release, the way back."""

from deepperception.promotion import budgets
from deepperception.promotion.cluster import Cluster, Conflict, Pod, ServingCluster, Target
from deepperception.promotion.evidence import Arm, read_evidence, tells_of_promotion
from deepperception.promotion.gate import Decision, decide
from deepperception.promotion.registry import CANDIDATE, CHAMPION, PREVIOUS, current
from deepperception.promotion.release import Release
from deepperception.promotion.rollback import rollback
from deepperception.promotion.run import Inputs, Result, Wishes, best, run

__all__ = [
    "CANDIDATE",
    "CHAMPION",
    "PREVIOUS",
    "Arm",
    "Cluster",
    "Conflict",
    "Decision",
    "Inputs",
    "Pod",
    "Release",
    "Result",
    "ServingCluster",
    "Target",
    "Wishes",
    "best",
    "budgets",
    "current",
    "decide",
    "read_evidence",
    "rollback",
    "run",
    "tells_of_promotion",
]
