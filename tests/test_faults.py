"""Several faults as one error."""

from __future__ import annotations

import pytest

from deepperception.errors import DeepPerceptionError, GateRefused, InfrastructureError, InputError
from deepperception.faults import Collector, raise_together


def test_no_fault_is_no_error() -> None:
    raise_together([])


def test_a_single_fault_is_raised_as_it_is() -> None:
    fault = GateRefused("a sentence.")
    with pytest.raises(GateRefused) as told:
        raise_together([fault])
    assert told.value is fault


@pytest.mark.parametrize(
    ("faults", "kind", "why"),
    [
        ([InfrastructureError("a."), InfrastructureError("b.")], InfrastructureError, "waiting may help"),
        ([InfrastructureError("a."), InputError("b.")], InputError, "waiting does not help with b"),
    ],
)
def test_several_are_listed(faults: list[DeepPerceptionError], kind: type[Exception], why: str) -> None:
    with pytest.raises(DeepPerceptionError) as told:
        raise_together(faults)
    assert type(told.value) is kind, why
    assert str(told.value) == "2 faults:\n  a.\n  b."


def test_a_collector_goes_on_after_a_fault_and_not_after_a_bug() -> None:
    found = Collector()
    with found():
        raise InputError("a.")
    found.add(["b."])
    assert [str(fault) for fault in found.faults] == ["a.", "b."]
    with pytest.raises(ValueError, match="odd"), found():
        raise ValueError("odd")
