"""The pipeline as KFP sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = {"preflight": 1, "base": 1, "synthesis": 1, "sft": 2, "grpo": 1, "evaluation": 4, "promotion": 1, "report": 1}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return stock("deepperception", tmp_path_factory.mktemp("package"))


def stock(name: str, folder: Path) -> dict[str, Any]:
    """What the stock command makes of the file."""
    target = folder / "flow.yaml"
    command = [str(Path(sys.executable).with_name("kfp")), "dsl", "compile", "--py"]
    source = ROOT / "pipelines" / f"{name}.py"
    done = subprocess.run(
        [*command, str(source), "--output", str(target)], capture_output=True, text=True, cwd=ROOT.parent
    )
    assert done.returncode == 0, done.stderr
    documents = list(yaml.safe_load_all(target.read_text(encoding="utf-8")))
    content: dict[str, Any] = documents[0]
    return content


def stages(package: dict[str, Any]) -> dict[str, Any]:
    """All tasks but the exit handler's own."""
    tasks: dict[str, Any] = package["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    return tasks


def test_it_has_the_whole_flow(package: dict[str, Any]) -> None:
    tasks = stages(package).values()
    names = Counter(task["componentRef"]["name"].removeprefix("comp-").rstrip("-0123456789") for task in tasks)
    assert names == STAGES


def test_tasks_can_be_told_apart(package: dict[str, Any]) -> None:
    shown = [task["taskInfo"]["name"] for task in stages(package).values()]
    assert len(set(shown)) == len(shown)


def test_nothing_starts_before_the_preflight(package: dict[str, Any]) -> None:
    first = {name for name, task in stages(package).items() if not task.get("dependentTasks")}
    assert first == {"preflight"}


def test_however_it_ends_it_is_reported(package: dict[str, Any]) -> None:
    ending = package["root"]["dag"]["tasks"]["ending"]
    assert ending["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert ending["inputs"]["parameters"]["status"]["taskFinalStatus"]["producerTask"] == "exit-handler-1"
    assert not ending["cachingOptions"].get("enableCache")


def test_images_are_pinned(package: dict[str, Any]) -> None:
    """KFP's cache key holds the image's name and not its content."""
    images = {executor["container"]["image"] for executor in package["deploymentSpec"]["executors"].values()}
    assert all(re.search(r"(@sha256:[0-9a-f]{64}|:\d+\.\d+\.\d+)$", image) for image in images), images


def test_nothing_is_installed_when_a_step_starts(package: dict[str, Any]) -> None:
    commands = [str(executor["container"]["command"]) for executor in package["deploymentSpec"]["executors"].values()]
    assert not [command for command in commands if "pip install" in command]


def test_what_is_no_function_of_its_inputs_is_never_cached(package: dict[str, Any]) -> None:
    """A promotion depends on who is champion at the moment, a pre-flight on what is up."""
    tasks = stages(package)
    cached = {name for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")}
    assert cached == set(tasks) - {"promotion", "preflight"}


def test_the_command_line_submits_the_same_package(package: dict[str, Any]) -> None:
    from deepperception.platform.packages import compiled

    ours = next(iter(yaml.safe_load_all(compiled("deepperception"))))
    assert ours["root"] == package["root"]
    assert ours["components"].keys() == package["components"].keys()


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("benchmark", {"preflight", "base", "scoring"}), ("synthesis", {"preflight", "synthesis"})],
)
def test_the_stock_command_takes_the_smaller_ones(name: str, tasks: set[str], tmp_path: Path) -> None:
    assert set(stages(stock(name, tmp_path))) == tasks


@pytest.mark.parametrize("path", sorted((ROOT / "components").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_a_component_is_an_address(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert 10 <= len(text.splitlines()) <= 30
    assert text.count("run_step(") == 1
