"""What a job's processes and its launcher leave for each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deepperception.platform.trainjob.words import Words


def failure(number: int) -> dict[str, Any]:
    return {"error": "InputError", "message": f"process {number}", "exit_code": 1}


def test_the_first_failure_counts_whoever_else_fails(tmp_path: Path) -> None:
    words = Words(tmp_path)
    words.begin("{}", {})
    assert words.failure() is None
    first = words.fail(failure(1))
    assert [words.fail(failure(number)) for number in (2, 3)] == [first, first] == [failure(1)] * 2
    assert {path.name for path in tmp_path.iterdir()} == {"call.json", "trainjob.yaml", "failure.json"}


def test_processes_that_fail_at_once_agree(tmp_path: Path) -> None:
    Words(tmp_path).begin("{}", {})
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: Words(tmp_path).fail(failure(number)), range(64)))
    assert all(each == told[0] for each in told)


def test_a_new_job_finds_nothing_of_the_one_before(tmp_path: Path) -> None:
    words = Words(tmp_path / "trainjobs" / "a")
    words.begin('{"seed": 1}', {"kind": "TrainJob"})
    words.fail(failure(1))
    words.reply({"policy": {}})
    words.begin('{"seed": 2}', {"kind": "TrainJob"})
    assert (words.failure(), words.outputs(), words.call()) == (None, None, '{"seed": 2}')
