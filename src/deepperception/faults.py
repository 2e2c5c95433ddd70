"""Several faults told at once: a person who mends one should not meet the next on the following try."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from deepperception.errors import DeepPerceptionError, InfrastructureError, InputError


def raise_together(faults: Sequence[DeepPerceptionError]) -> None:
    """Raise the one fault, or all of them as a list; nothing happens where there is none.

    It is an InputError as soon as one of them is the user's to mend: waiting does not help then.
    """
    if not faults:
        return
    if len(faults) == 1:
        raise faults[0]
    users = any(isinstance(fault, InputError) for fault in faults)
    kind = InputError if users else InfrastructureError
    raise kind(f"{len(faults)} faults:" + "".join(f"\n  {fault}" for fault in faults))


class Collector:
    """Goes on after a fault, and remembers it."""

    def __init__(self) -> None:
        self.faults: list[DeepPerceptionError] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Collect what the block raises of the package's own errors."""
        try:
            yield
        except DeepPerceptionError as fault:
            self.faults.append(fault)

    def add(self, sentences: Sequence[str], kind: Callable[[str], DeepPerceptionError] = InputError) -> None:
        """Collect sentences."""
        self.faults.extend(kind(sentence) for sentence in sentences)
