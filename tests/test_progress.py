from __future__ import annotations

import io

import pytest

from deepperception import progress
from deepperception.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when the test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_say_is_one_line_with_its_stage():
    stream = io.StringIO()
    Progress("sft", stream).say("reusing what is there")
    Progress(stream=stream).say("done")
    assert stream.getvalue() == "sft: reusing what is there\ndone\n"


def test_standard_output_is_left_to_results(capsys):
    Progress("sft").say("hello")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "sft: hello\n")


def test_a_log_gets_a_line_every_few_seconds_and_one_at_the_end(clock):
    stream = io.StringIO()
    with Progress("sft", stream).track(10, "training") as bar:
        bar.started = bar.printed = clock[0]
        for step in range(1, 11):
            clock[0] += 1.0
            bar.advance(note=f"loss {step}")
    assert stream.getvalue() == "sft: training: 5/10, 5 s left loss 5\nsft: training: 10/10, 0 s left loss 10\n"


def test_a_log_line_without_a_note_ends_cleanly(clock):
    stream = io.StringIO()
    with Progress(stream=stream).track(4, "rows") as bar:
        bar.started = clock[0]
        bar.advance(4)
    assert stream.getvalue() == "rows: 4/4, 0 s left\n"


def test_a_terminal_gets_a_live_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress("sft", stream).track(3, "training") as bar:
        bar.advance(3, note="loss 0.31")
    shown = stream.getvalue()
    assert "sft: training" in shown
    assert "3/3" in shown
    assert "loss 0.31" in shown
