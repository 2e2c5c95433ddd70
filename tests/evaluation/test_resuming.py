"""Killed anywhere, an evaluation goes on behind its last reply; in shards, each case is asked and scored once."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deepperception.artifacts import read_cases, read_manifest, read_metrics
from deepperception.artifacts.datasets import question_ids
from deepperception.errors import InputError
from deepperception.evaluation.config import EvaluationConfig
from deepperception.evaluation.run import evaluate_model
from deepperception.evaluation.shards import Shard

from .conftest import MadeUpModel, make_checkpoint, make_context

CASES = 48


@pytest.fixture
def checkpoint(tmp_path):
    return make_checkpoint(tmp_path / "model")


@pytest.fixture
def evaluate(benchmark, checkpoint, tmp_path):
    def run(model=None, *, out="out", shard="0/1", log=None):
        model = model or MadeUpModel(benchmark, seen=0.8, unseen=0.5)
        made = evaluate_model(
            EvaluationConfig(),
            benchmark,
            checkpoint,
            tmp_path / out,
            make_context(log),
            open_engine=model,
            shard=Shard.parse(shard),
        )
        return made, model

    return run


class Failing(MadeUpModel):
    """Stops after some replies, as a preempted pod does."""

    def __init__(self, benchmark, after):
        super().__init__(benchmark, seen=0.8, unseen=0.5)
        self.after = after

    def generate(self, requests, decoding):
        for number, replies in enumerate(super().generate(requests, decoding)):
            if number == self.after:
                raise KeyboardInterrupt
            yield replies


def test_a_stopped_run_asks_only_what_has_no_reply(evaluate, benchmark, tmp_path):
    expected, _ = evaluate(out="straight")
    with pytest.raises(KeyboardInterrupt):
        evaluate(Failing(benchmark, after=20))
    log = io.StringIO()
    made, model = evaluate(log=log)
    assert sum(model.calls) == CASES - 20
    assert "going on: 20 of 48 questions have their reply" in log.getvalue()
    assert "restarting" not in log.getvalue()
    assert made.digest == expected.digest
    assert not list(tmp_path.glob("out.*")), "what was kept to go on with is gone"


@pytest.mark.parametrize(
    ("torn", "lost"),
    [
        (lambda whole: whole[:-7], 1),
        (lambda whole: whole + b'{"question_id": "fish/7", "replies": ["half', 0),
        (lambda whole: whole[:-1], 1),
        (lambda whole: whole + b"\0" * 512, 0),
        (lambda whole: b"", 20),
    ],
    ids=["the last line cut off", "a line begun", "a newline missing", "zeros after a power cut", "nothing left"],
)
def test_a_torn_end_is_dropped_and_asked_again(evaluate, benchmark, tmp_path, torn, lost):
    expected, _ = evaluate(out="straight")
    with pytest.raises(KeyboardInterrupt):
        evaluate(Failing(benchmark, after=20))
    (part,) = tmp_path.glob("out.replies/*.part")
    part.write_bytes(torn(part.read_bytes()))
    made, model = evaluate()
    assert sum(model.calls) == CASES - 20 + lost
    assert made.digest == expected.digest


def test_replies_of_another_model_are_not_gone_on_with(evaluate, benchmark, checkpoint):
    with pytest.raises(KeyboardInterrupt):
        evaluate(Failing(benchmark, after=20))
    (checkpoint / "generation_config.json").write_text("{}")
    _, model = evaluate()
    assert sum(model.calls) == CASES


def test_replies_of_another_backend_are_not_mixed_in(evaluate, benchmark):
    with pytest.raises(KeyboardInterrupt):
        evaluate(Failing(benchmark, after=20))
    other = MadeUpModel(benchmark, seen=1, unseen=1)
    other.backend = {**other.backend, "dtype": "bfloat16"}
    with pytest.raises(InputError, match="ask all of them alike, or remove the folder"):
        evaluate(other)


@pytest.mark.parametrize("of", [1, 3, 7, 60])
def test_shards_hold_each_case_once(benchmark, of):
    ids = list(question_ids(benchmark))
    holders = [[n for n in range(of) if Shard(n, of).holds(each)] for each in ids]
    assert all(len(each) == 1 for each in holders)


def test_a_case_stays_in_its_shard():
    assert [Shard(n, 4).holds("bird/17") for n in range(4)] == [True, False, False, False]


@pytest.mark.parametrize("text", ["8/8", "1", "-1/8", "a/b", "0/0", "1/2/3", "٣/٨"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="expected i/n with i from 0 to n - 1"):
        Shard.parse(text)


def test_the_last_shard_scores_all_cases_once(evaluate, tmp_path):
    expected, _ = evaluate(out="straight")
    log = io.StringIO()
    calls = 0
    for number in (2, 0, 1):
        made, model = evaluate(shard=f"{number}/3", log=log)
        calls += sum(model.calls)
        assert (made is None) == (number != 1)
    assert "shard 2/3 is finished, 1 of 3 are; the last one to finish scores them all" in log.getvalue()
    assert calls == CASES
    assert read_manifest(tmp_path / "out").digest == expected.digest
    assert [case.question_id for case in read_cases(tmp_path / "out")] == [
        case.question_id for case in read_cases(tmp_path / "straight")
    ]

    made, idle = evaluate(shard="1/3", log=log)
    assert made.digest == expected.digest and not idle.calls, "a shard that is started again finds the scores"


def test_shards_that_end_together_score_once(evaluate, benchmark, tmp_path):
    expected, _ = evaluate(out="straight")
    meet = threading.Barrier(3)

    class Together(MadeUpModel):
        def generate(self, requests, decoding):
            yield from super().generate(requests, decoding)
            meet.wait(timeout=60)

    made: list = []

    def shard(number):
        model = Together(benchmark, seen=0.8, unseen=0.5)
        made.append((evaluate(model, shard=f"{number}/3")[0], sum(model.calls)))

    threads = [threading.Thread(target=shard, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(calls for _, calls in made) == CASES
    assert {each.digest for each, _ in made if each} == {expected.digest}
    assert read_metrics(tmp_path / "out")["official"]["all"]["cases"] == CASES


KILLED = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from evaluation.conftest import MadeUpModel, make_context
from deepperception.evaluation.config import EvaluationConfig
from deepperception.evaluation.run import evaluate_model
from deepperception.evaluation.shards import Shard

class Slow(MadeUpModel):
    def generate(self, requests, decoding):
        for replies in super().generate(requests, decoding):
            time.sleep(0.002)
            with open({asked!r}, "a") as log:
                log.write("asked\\n")
            yield replies

benchmark, model, out = map(Path, {places!r})
evaluate_model(EvaluationConfig(), benchmark, model, out, make_context(sys.stderr),
               open_engine=Slow(benchmark, seen=0.8, unseen=0.5), shard=Shard.parse({shard!r}))
"""


@pytest.mark.parametrize("shards", [1, 2])
def test_killed_anywhere_it_ends_with_each_case_once(evaluate, benchmark, checkpoint, tmp_path, shards):
    expected, _ = evaluate(out="straight")
    out, asked = tmp_path / "killed", tmp_path / "asked"
    rng = random.Random(shards)
    kills = 0
    for number in range(shards):
        script = KILLED.format(
            path=[str(Path(__file__).parents[1])],
            asked=str(asked),
            places=[str(benchmark), str(checkpoint), str(out)],
            shard=f"{number}/{shards}",
        )
        while True:
            began = asked.stat().st_size if asked.exists() else 0
            process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
            # Killed a random while after its first reply, which may be in the middle of a write or of the scoring.
            while process.poll() is None and (asked.stat().st_size if asked.exists() else 0) == began:
                time.sleep(0.001)
            if kills < 3 * (number + 1):
                time.sleep(rng.uniform(0, 0.06))
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
            if process.wait() == 0:
                break
    assert kills, "nothing was killed"
    assert read_manifest(out).digest == expected.digest
    assert len(asked.read_text().splitlines()) <= CASES + kills, "no more than the case in hand is asked again"
    rows = [json.loads(line)["question_id"] for line in (out / "cases.jsonl").read_text().split("\n") if line]
    assert len(rows) == len(set(rows)) == CASES
