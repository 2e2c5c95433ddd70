"""The step of a stage that is a TrainJob, in a thread of its own, beside a stand-in of Kubernetes' API."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from deepperception.errors import DeepPerceptionError
from deepperception.infra import Infra
from deepperception.platform.trainjob.api import KubernetesApi
from deepperception.platform.trainjob.launch import launch
from deepperception.platform.trainjob.render import job_folder, job_name
from deepperception.platform.trainjob.wait import Pace, Tools
from deepperception.platform.trainjob.words import Words
from deepperception.platform.workplace import Workplace
from deepperception.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("DEEPPERCEPTION_SHARED", ROOT.parent / "shared"))
SCHEMA = SHARED / "schemas" / "trainjob-trainer.kubeflow.org-v1alpha1.json"
GOLDEN = ROOT / "tests" / "pipelines" / "golden"
INPUTS = {name: {"uri": f"file:///{name}", "digest": "sha256:" + "1" * 64, "run_id": ""} for name in ("model", "data")}
OUTPUTS = {"policy": {"metadata": {"uri": "file:///made", "digest": "sha256:" + "2" * 64, "run_id": "r"}}}
BRISK = Pace(patience_s=20, first_pause_s=0.01, longest_pause_s=0.05, look_s=1)


class Launcher:
    """A step in a thread of its own, as its pod would run it."""

    def __init__(self, api: Any, recipe: Recipe, infra: Infra, stage: str = "cot_sft") -> None:
        from kubernetes import client

        self.api = api
        self.said: list[str] = []
        self.place = Workplace(stage, recipe, infra, INPUTS)
        self.name = job_name(stage, recipe, infra)
        self.words = Words(job_folder(infra, self.name))
        settings = client.Configuration(host=api.url)
        self.cluster = KubernetesApi(client.ApiClient(settings), "deepperception-runs")
        self.tools = Tools(self.cluster, self.said.append, BRISK)
        self.outputs: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Launcher:
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self.outputs = launch(self.place, self.tools)
        except BaseException as error:
            self.error = error

    def job(self) -> dict[str, Any]:
        """The job, once there is one."""
        self.api.until(lambda: self.name in self.api.jobs)
        return self.api.jobs[self.name]  # type: ignore[no-any-return]

    def finish(self) -> Any:
        """What it hands on, or raises."""
        self._thread.join(60)
        assert not self._thread.is_alive(), f"the launcher waits on; it said {self.said}"
        if self.error:
            raise self.error
        return self.outputs

    def fails(self) -> DeepPerceptionError:
        """The error that it ends with."""
        with pytest.raises(DeepPerceptionError) as told:
            self.finish()
        assert "\n" not in str(told.value)
        return told.value

    def completes(self) -> Any:
        """The job leaves its result and is complete."""
        self.words.reply(OUTPUTS)
        self.api.says(self.name, "Complete", "JobsCompleted")
        return self.finish()
