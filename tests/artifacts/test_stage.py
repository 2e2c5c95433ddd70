"""A stage is built once, whole or not at all, whatever happens to its process."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import Manifest, Outcome, once, read_manifest, verify
from deepperception.artifacts import manifest as manifest_module
from deepperception.errors import InputError
from deepperception.progress import Progress

KilledAt = Callable[[int, Callable[[], Any]], bool]


def build(folder: Path) -> Outcome:
    (folder / "weights").write_text("trained")
    (folder / "evidence").mkdir()
    (folder / "evidence" / "curves.jsonl").write_text("{}\n")
    return Outcome(counts={"rows": 3}, metrics={"loss": 0.5}, backend={"engine": "none"})


def make(out: Path, progress: Progress, build: Callable[[Path], Outcome] = build, **changes: Any) -> Manifest:
    key: dict[str, Any] = {"kind": "model", "recipe_hash": "r1", "seed": 0, "inputs": {"data": "d1"}}
    return once(out, **(key | changes), progress=progress, build=build)


def never(folder: Path) -> Outcome:
    raise AssertionError("it should not be built again")


def test_it_is_built_sealed_and_described(tmp_path: Path, progress: Progress, log: io.StringIO) -> None:
    made = make(tmp_path / "new" / "sft", progress)
    assert made == verify(tmp_path / "new" / "sft")
    assert (made.kind, made.seed, made.inputs, made.counts) == ("model", 0, {"data": "d1"}, {"rows": 3})
    assert (made.metrics, made.backend) == ({"loss": 0.5}, {"engine": "none"})
    assert log.getvalue() == "", "a first build has nothing to explain"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".sft.lock", "sft"]


def test_the_same_again_touches_nothing(tmp_path: Path, progress: Progress, log: io.StringIO) -> None:
    out = tmp_path / "sft"
    first = make(out, progress)
    before = {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))}
    assert make(out, progress, never) == first
    assert {path: path.stat().st_mtime_ns for path in (out, *out.rglob("*"))} == before
    assert log.getvalue() == f"reusing {out}\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe_hash": "r2"}, "its recipe changed"),
        ({"seed": 7}, "its seed changed from 0 to 7"),
        ({"inputs": {"data": "d2"}}, "its inputs changed (data)"),
        ({"inputs": {"data": "d1", "model": "m"}}, "its inputs changed (model)"),
    ],
)
def test_another_key_makes_it_again(
    tmp_path: Path, progress: Progress, log: io.StringIO, change: dict[str, Any], said: str
) -> None:
    make(tmp_path / "sft", progress)

    def other(folder: Path) -> Outcome:
        (folder / "weights").write_text("trained otherwise")
        return Outcome()

    made = make(tmp_path / "sft", progress, other, **change)
    assert log.getvalue() == f"made again: {said}\n"
    assert verify(tmp_path / "sft") == made
    assert not (tmp_path / "sft" / "evidence").exists(), "nothing of the old artifact is left"


def test_another_release_makes_it_again_another_edit_only_says_so(
    tmp_path: Path, progress: Progress, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, expected in (
        ("0.1.0+aaa", ""),
        ("0.1.0+bbb", "(made by 0.1.0+aaa, this is 0.1.0+bbb)"),
        ("9.0+c", "made again"),
    ):
        for module in (manifest_module, sys.modules["deepperception.artifacts.stage"]):
            monkeypatch.setattr(module, "code_version", lambda version=version: version)
            monkeypatch.setattr(module, "release", lambda version=version: version.partition("+")[0])
        make(tmp_path / "sft", progress)
        assert expected in log.getvalue()


def test_changed_files_are_noticed(tmp_path: Path, progress: Progress, log: io.StringIO) -> None:
    make(tmp_path / "sft", progress)
    (tmp_path / "sft" / "weights").write_text("trainee")
    make(tmp_path / "sft", progress)
    assert log.getvalue() == "made again: its files changed after they were written\n"
    assert (tmp_path / "sft" / "weights").read_text() == "trained"


@pytest.mark.parametrize("older", [False, True])
def test_killed_at_any_change_to_the_disk_the_next_call_ends_the_same(
    tmp_path: Path, progress: Progress, log: io.StringIO, killed_at: KilledAt, older: bool
) -> None:
    """Alone, and while it replaces an artifact of an older recipe."""
    undisturbed = make(tmp_path / "undisturbed", progress)
    said = set()
    for step in range(100):
        out = tmp_path / f"out{step}"
        if older:
            make(out, progress, recipe_hash="r0")
        if not killed_at(step, lambda out=out: make(out, Progress("", io.StringIO()))):  # type: ignore[misc]
            break
        if out.exists():
            verify(out)  # absent or whole, at any moment
        log.truncate(log.seek(0))
        assert make(out, progress) == undisturbed
        said.add(log.getvalue().replace(str(out), "out").strip())
        assert verify(out) == undisturbed
        assert not list(tmp_path.glob("out*.building")) + list(tmp_path.glob("out*.retired"))
    else:
        pytest.fail("the work never came to its end")
    assert step > 10, "the kills came all through the work"
    assert said == {"restarting: it was cut off", "reusing out", "made again: its recipe changed" if older else ""}


def test_killed_from_outside_in_the_middle_of_a_build(tmp_path: Path, progress: Progress, log: io.StringIO) -> None:
    out = tmp_path / "sft"
    code = f"""
import time
from pathlib import Path
from deepperception.artifacts import once
from deepperception.progress import Progress

def build(folder):
    (folder / "weights").write_text("half of it")
    time.sleep(60)

key = dict(kind="model", recipe_hash="r1", seed=0, inputs={{"data": "d1"}})
once(Path({str(out)!r}), **key, progress=Progress(), build=build)
"""
    child = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.building/weights")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not out.exists()
    make(out, progress)
    assert log.getvalue() == "restarting: it was cut off\n"
    assert (out / "weights").read_text() == "trained"


def test_two_processes_never_build_the_same_folder(tmp_path: Path, progress: Progress, log: io.StringIO) -> None:
    built = []

    def slow(folder: Path) -> Outcome:
        built.append(folder)
        time.sleep(0.3)
        return build(folder)

    # flock is between open files, so threads meet it as processes do.
    threads = [threading.Thread(target=make, args=(tmp_path / "sft", progress, slow)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert log.getvalue().count("waiting: another process is making") == 2
    assert log.getvalue().count("reusing") == 2


def test_a_failure_passes_and_keeps_what_explains_it(tmp_path: Path, progress: Progress, log: io.StringIO) -> None:
    def failing(folder: Path) -> Outcome:
        (folder / "faults.txt").write_text("photo 3 is cut off")
        raise InputError("photos/3.jpg: the file is cut off.")

    with pytest.raises(InputError, match="cut off"):
        make(tmp_path / "data", progress, failing)
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "data.building" / "faults.txt").is_file()
    make(tmp_path / "data", progress)
    assert "restarting" in log.getvalue()


def test_a_failing_rebuild_keeps_the_older_artifact(tmp_path: Path, progress: Progress) -> None:
    first = make(tmp_path / "sft", progress)
    with pytest.raises(AssertionError):
        make(tmp_path / "sft", progress, never, seed=1)
    assert verify(tmp_path / "sft") == first


def test_what_no_stage_wrote_is_never_overwritten(tmp_path: Path, progress: Progress) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    (tmp_path / "file").write_text("too")
    make(tmp_path / "data", progress, kind="dataset")
    for place, message in (("thesis", "no stage wrote"), ("file", "no stage wrote"), ("data", "a finished dataset")):
        with pytest.raises(InputError, match=message):
            make(tmp_path / place, progress, never)
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"
    assert read_manifest(tmp_path / "data").kind == "dataset"


def test_an_empty_folder_is_a_place_to_write_to(tmp_path: Path, progress: Progress) -> None:
    (tmp_path / "sft").mkdir()
    make(tmp_path / "sft", progress)
    verify(tmp_path / "sft")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(small_disk: Path, progress: Progress) -> None:
    def too_much(folder: Path) -> Outcome:
        for number in range(20):
            (folder / str(number)).write_bytes(b"x" * 100_000)
        return Outcome()

    first = make(small_disk / "sft", progress)
    with pytest.raises(InputError, match=r"sft: the disk is full; free some space and run again") as caught:
        make(small_disk / "sft", progress, too_much, seed=1)
    assert "\n" not in str(caught.value)
    assert verify(small_disk / "sft") == first, "what was finished is kept"
    assert not (small_disk / "sft.building").exists()


def test_a_disk_that_fills_up_before_the_first_byte(small_disk: Path, progress: Progress) -> None:
    with pytest.raises(OSError) as full, (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(InputError, match="the disk is full"):
        make(small_disk / "sft", progress)
    os.remove(small_disk / "filler")
    make(small_disk / "sft", progress)
