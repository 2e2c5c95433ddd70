"""A recipe and an infra file for steps that need no model: the checkpoint is one by its looks only."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from deepperception.infra import Infra, load_infra
from deepperception.recipe import Recipe, load_recipe

ANNOTATION = """<annotation><size><width>64</width><height>64</height><depth>3</depth></size>
<object><name>{entity}</name><bndbox><xmin>8</xmin><ymin>8</ymin><xmax>56</xmax><ymax>56</ymax></bndbox></object>
</annotation>"""


SHARED = Path(os.environ.get("DEEPPERCEPTION_SHARED", Path(__file__).resolve().parents[3] / "shared"))
API = SHARED / "schemas" / "kfp-api-v2beta1.swagger.json"
GOLDEN_INFRA = Path(__file__).parents[1] / "pipelines" / "golden" / "infra.yaml"


def _services() -> Any:
    path = Path(__file__).parents[1] / "services" / "kfp_stand_in.py"
    spec = importlib.util.spec_from_file_location("kfp_stand_in", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def api_description() -> dict[str, Any]:
    """KFP 2.17's own description of its API."""
    if not API.is_file():
        pytest.skip(f"{API}: the description of Kubeflow Pipelines' API is not here")
    content: dict[str, Any] = json.loads(API.read_text(encoding="utf-8"))
    return content


@pytest.fixture
def kfp_api() -> Iterator[Any]:
    """Kubeflow Pipelines' stand-in, its address in `url`; checked against the API's description where that is here."""
    services = _services()
    description = json.loads(API.read_text(encoding="utf-8")) if API.is_file() else None
    stand_in = services.StandIn(description=description)
    with services.served(stand_in) as url:
        stand_in.url = url
        yield stand_in
    assert stand_in.violations == []


@pytest.fixture
def cluster(kfp_api: Any, tmp_path: Path) -> Infra:
    """A cluster's infra file whose API is the stand-in, and whose store is a folder."""
    content = yaml.safe_load(GOLDEN_INFRA.read_text(encoding="utf-8"))
    content["kubeflow"] |= {"endpoint": kfp_api.url, "ui": "https://kfp.example"}
    content["store"] = str(tmp_path / "store")
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_infra(path)


@pytest.fixture
def hollow_checkpoint(tmp_path: Path) -> Path:
    """Passes the check of a checkpoint and holds no weights."""
    folder = tmp_path / "hollow"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    header = b"{}"
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path, hollow_checkpoint: Path) -> Path:
    """Reads photos from tmp_path/photos, where one is a text file named .jpg."""
    for entity in ("raccoon", "kangaroo"):
        folder = tmp_path / "photos" / "animal" / entity
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 64), "white").save(folder / "1.jpg")
        (folder / "1.xml").write_text(ANNOTATION.format(entity=entity))
    (folder / "2.jpg").write_text("no picture")
    content = {
        "name": "tests",
        "model": {"base": str(hollow_checkpoint)},
        "synthesis": {"source": {"kind": "folder", "path": str(tmp_path / "photos")}},
        "sft": {},
        "grpo": {},
        "evaluation": {},
        "promotion": {},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file)


@pytest.fixture
def infra(tmp_path: Path) -> Infra:
    return load_infra("laptop", tmp_path / "run")


@pytest.fixture
def comes_true() -> Callable[[Callable[[], object]], bool]:
    """Waits until a condition holds; False where it does not within 30 s."""

    def wait(condition: Callable[[], object]) -> bool:
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    return wait


@pytest.fixture(autouse=True)
def quick_kfp(monkeypatch: pytest.MonkeyPatch) -> None:
    """KFP looks through all loaded modules at every setting of a task, to name a method in an error; here are many."""
    monkeypatch.setattr("kfp.dsl.pipeline_task.PipelineTask._ensure_container_spec_exists", lambda task: None)
