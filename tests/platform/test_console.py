"""What the person sees, and what only the log holds."""

from __future__ import annotations

import io
import re

from deepperception.platform.console import MARK, MarkedLines, Screen
from deepperception.progress import Progress


def test_progress_marks_its_lines() -> None:
    stream = io.StringIO()
    Progress("sft", MarkedLines(stream)).say("step 1")
    assert stream.getvalue() == f"{MARK}sft: step 1\n"


def test_the_person_sees_marked_lines_only_and_the_log_everything() -> None:
    log, person = io.StringIO(), io.StringIO()
    screen = Screen(log, person)
    # KFP indents what a step prints, and writes in pieces.
    for piece in ("INFO - Executing task\n", "    ", f"{MARK}sft: ", "step 1\n", "    a library's warning\n"):
        print(piece, end="", file=screen)
    assert log.getvalue() == f"INFO - Executing task\n    {MARK}sft: step 1\n    a library's warning\n"
    assert re.fullmatch(r" 0:00 sft: step 1\n", person.getvalue())
