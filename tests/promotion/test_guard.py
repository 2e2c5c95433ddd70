"""What a canary's counters are held against."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from deepperception.errors import InfrastructureError
from deepperception.promotion.config import ReleaseConfig
from deepperception.promotion.guard import Counters, alarm, faults, memory_bytes, read

TEXT = """# HELP deepperception_requests_total Requests that were answered.
# TYPE deepperception_requests_total counter
deepperception_requests_total{route="v1",status="200"} 90.0
deepperception_requests_total{route="openai",status="503"} 4.0
deepperception_requests_total{route="v1",status="429"} 6.0
# TYPE deepperception_request_seconds histogram
deepperception_request_seconds_bucket{le="0.1",route="v1"} 50.0
deepperception_request_seconds_bucket{le="1.0",route="v1"} 90.0
deepperception_request_seconds_bucket{le="+Inf",route="v1"} 90.0
deepperception_request_seconds_bucket{le="0.1",route="openai"} 0.0
deepperception_request_seconds_bucket{le="1.0",route="openai"} 10.0
deepperception_request_seconds_bucket{le="+Inf",route="openai"} 10.0
deepperception_predictions_total 90.0
deepperception_boxes_found_total 81.0
process_resident_memory_bytes 1048576.0
"""


def test_the_servers_own_counters_are_read() -> None:
    seen = read(TEXT)
    assert (seen.requests, seen.errors, seen.predictions, seen.found) == (100, 4, 90, 81)
    assert seen.seconds == {0.1: 50, 1.0: 100, math.inf: 100}
    assert memory_bytes(TEXT) == 2**20
    assert read("") == Counters()
    with pytest.raises(InfrastructureError, match="metrics cannot be read"):
        read("deepperception_requests_total{ 1")


@pytest.mark.parametrize(("share", "seconds"), [(0.25, 0.05), (0.5, 0.1), (0.75, 0.55), (1.0, 1.0)])
def test_quantiles_are_prometheus_own(share: float, seconds: float) -> None:
    assert read(TEXT).quantile(share) == pytest.approx(seconds)


def test_beyond_the_last_bound_that_bound_is_the_answer() -> None:
    assert Counters(seconds={1.0: 0, math.inf: 10}).quantile(0.95) == 1.0
    assert Counters(seconds={1.0: 0, math.inf: 0}).quantile(0.95) is None
    assert Counters().quantile(0.95) is None


def test_a_window_is_what_came_since_unless_the_server_was_started_anew() -> None:
    before, after = Counters(10, 1, {1.0: 5}, 9, 9), Counters(30, 2, {1.0: 15}, 28, 20)
    assert after.since(before) == Counters(20, 1, {1.0: 10}, 19, 11)
    assert before.since(after) == before


def counters(requests: int = 100, errors: int = 0, slow: int = 0, found: int = 90) -> Counters:
    fast = requests - slow
    return Counters(requests, errors, {0.1: fast, 1.0: requests, math.inf: requests}, requests, found)


@pytest.mark.parametrize(
    ("canary", "told"),
    [
        ({}, None),
        ({"errors": 1}, None),
        ({"errors": 2}, r"2 of its 100 requests failed \(at most 1.0% may\)"),
        ({"slow": 5}, None),
        ({"slow": 50}, r"its 95th percentile is 0.91 s where the served version's is 0.\d+ s"),
        ({"found": 80}, None),
        ({"found": 75}, None),  # 25 of 100 missing may still be 17 in truth
        ({"found": 60}, r"finds a box in 60% of its answers \(95 % interval up to 69%\), the served version in 90%"),
    ],
)
def test_faults_of_a_step(canary: dict[str, Any], told: str | None) -> None:
    found = faults(counters(**canary), counters(), ReleaseConfig())
    assert len(found) == (told is not None), found
    assert told is None or re.search(told, found[0]), found


def test_one_failure_is_no_alarm_and_a_row_of_them_is() -> None:
    config = ReleaseConfig()
    assert alarm(counters(requests=50, errors=1), config) is None
    assert alarm(counters(requests=6, errors=6), config) is not None


@pytest.mark.parametrize("steps", [(50, 10), (10, 10), (0, 50), (10, 101), ()])
def test_steps_rise(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="steps"):
        ReleaseConfig(steps=steps)
