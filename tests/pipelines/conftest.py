from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def quick_kfp(monkeypatch: pytest.MonkeyPatch) -> None:
    """KFP looks through all loaded modules at every setting of a task, to name a method in an error; here are many."""
    monkeypatch.setattr("kfp.dsl.pipeline_task.PipelineTask._ensure_container_spec_exists", lambda task: None)
