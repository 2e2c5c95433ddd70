"""Every error that leaves the package on purpose, and the exit code each one means.

    DeepPerceptionError
    ├── InputError            1   the user's recipe, data, model, arguments or disk need mending
    ├── InfrastructureError   3   a disk, server, store or cluster failed
    ├── GateRefused           4   the evidence does not support a promotion
    └── Preempted            75   stopped from outside; run again to resume

The message is one sentence: what is wrong, where, and what to do. The command line prints it and nothing else.
"""

from __future__ import annotations


class DeepPerceptionError(Exception):
    """Base of all of them; never raised itself."""

    exit_code = 1


class InputError(DeepPerceptionError):
    """Something that the user gave is wrong and only the user can mend it: retrying does not help."""

    exit_code = 1


class InfrastructureError(DeepPerceptionError):
    """Something around the program failed: the same command may succeed later."""

    exit_code = 3


class GateRefused(DeepPerceptionError):
    """The candidate is not shown to be better than what is served."""

    exit_code = 4


class Preempted(DeepPerceptionError):
    """The process was asked to stop and has saved its state (EX_TEMPFAIL)."""

    exit_code = 75
