"""Many predictions: a folder of pictures, or a list of pictures and names. A bad one is named, the rest goes on."""

from __future__ import annotations

import csv
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.errors import InputError
from deepperception.grounding import question
from deepperception.inference.engine import Engine
from deepperception.inference.images import MAX_ASPECT, examine
from deepperception.serving.client import ask_server
from deepperception.serving.finder import Finder, Prediction, Query
from deepperception.serving.predict import write_drawing

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LISTS = (".csv", ".jsonl")
_LOCAL_BATCH = 16


@dataclass(frozen=True, slots=True)
class Task:
    """A picture's file, the name to find on it, and what it is called in the results."""

    image: Path
    entity: str
    name: str


@dataclass(frozen=True, slots=True)
class Result:
    """What was found, or why nothing could be."""

    task: Task
    prediction: Prediction | None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """One line of the output."""
        asked = {"image": self.task.name, "entity": self.task.entity}
        if self.prediction is None:
            return {**asked, "error": self.error}
        return {**asked, **self.prediction.to_json()}


def read_tasks(source: Path, entity: str | None) -> list[Task]:
    """The tasks of a folder (every picture in it, in order of their paths) or of a list, CSV or JSON lines.

    A list has `image`, a path relative to the list, and `entity`, which `entity` stands in for where it is missing.
    InputError where there is nothing to do, or a line names no picture.
    """
    if source.is_dir():
        if not entity:
            raise InputError(f"{source}: a folder needs one name for all its pictures; give --entity, or a list.")
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
        tasks = [Task(path, entity, path.relative_to(source).as_posix()) for path in found]
    else:
        tasks = [_task(row, source, number, entity) for number, row in enumerate(_rows(source), start=1)]
    if not tasks:
        raise InputError(f"{source}: there are no pictures in it; give a folder or a list of some.")
    return tasks


def predict_many(
    model: str,
    tasks: Sequence[Task],
    *,
    clients: int,
    draw: Path | None = None,
    token: str | None = None,
    retries: int = 0,
    open_engine: Callable[..., Engine] | None = None,
) -> Iterator[Result]:
    """One result a task, in order. `model` is a checkpoint folder, or the http(s) address of a server.

    A server is asked for `clients` pictures at a time; InfrastructureError where it does not answer. `draw` is the
    folder that gets a PNG for each prediction.
    """
    if draw is not None:
        draw.mkdir(parents=True, exist_ok=True)
    if model.startswith(("http://", "https://")):
        results = _from_server(model, tasks, clients, token, retries)
    else:
        results = _from_folder(Finder.load(Path(model), open_engine), tasks)
    for number, result in enumerate(results, start=1):
        if draw is not None and result.prediction is not None:
            _draw(result, draw / f"{number:05d}-{Path(result.task.name).stem}.png")
        yield result


def _draw(result: Result, out: Path) -> None:
    assert result.prediction is not None
    write_drawing(result.task.image, result.prediction, result.task.entity, out)


def _from_server(url: str, tasks: Sequence[Task], clients: int, token: str | None, retries: int) -> Iterator[Result]:
    def ask(task: Task) -> Result:
        try:
            query = _query(task)
            return Result(task, ask_server(url, query.image, task.entity, token=token, retries=retries))
        except InputError as error:
            return Result(task, None, str(error))

    waiting: deque[Future[Result]] = deque()
    left = iter(tasks)
    with ThreadPoolExecutor(clients, thread_name_prefix="client") as pool:
        try:
            # Twice as many as are asked at once: one slow answer leaves the others something to do.
            waiting.extend(pool.submit(ask, task) for task in itertools.islice(left, 2 * clients))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(ask, task) for task in itertools.islice(left, 1))
        finally:
            for future in waiting:
                future.cancel()


def _from_folder(finder: Finder, tasks: Sequence[Task]) -> Iterator[Result]:
    for start in range(0, len(tasks), _LOCAL_BATCH):
        batch = tasks[start : start + _LOCAL_BATCH]
        queries: dict[int, Query] = {}
        wrong: dict[int, str] = {}
        for place, task in enumerate(batch):
            try:
                queries[place] = _query(task)
            except InputError as error:
                wrong[place] = str(error)
        found = dict(zip(queries, finder.find(list(queries.values())), strict=True)) if queries else {}
        yield from (Result(task, found.get(place), wrong.get(place)) for place, task in enumerate(batch))


def _query(task: Task) -> Query:
    question(task.entity)
    size = examine(task.image, max_aspect=MAX_ASPECT).upright
    return Query(task.image.read_bytes(), size, task.entity)


def _rows(source: Path) -> Iterator[Any]:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{source}: there is no such file; give a picture, a folder or a list.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot be read ({error}); give a list as CSV or JSON lines.") from None
    if source.suffix.lower() == ".csv":
        yield from csv.DictReader(text.splitlines())
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{source}, line {number}: this is not JSON ({error}).") from None


def _task(row: Any, source: Path, number: int, entity: str | None) -> Task:
    image = row.get("image") if isinstance(row, dict) else None
    name = (row.get("entity") or entity) if isinstance(row, dict) else None
    if not isinstance(image, str) or not image:
        raise InputError(f"{source}, entry {number}: there is no 'image'; give the path of a picture.")
    if not isinstance(name, str) or not name:
        raise InputError(f"{source}, entry {number}: there is no 'entity'; name what to find, or give --entity.")
    return Task(source.parent / image, name, image)
