"""What a cluster does with a TrainJob, on this machine: a `torchrun` for every node, its output the log of its pod."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import Any

from services.trainer_stand_in import StandIn


class Nodes:
    """The nodes of one job of the stand-in; when all have ended, the job has."""

    def __init__(self, api: StandIn, name: str) -> None:
        self._api, self._name = api, name
        self._job = api.jobs[name]
        self.processes = [self._start(index) for index in range(self._job["spec"]["trainer"]["numNodes"])]
        self._readers = [threading.Thread(target=self._read, args=(index,)) for index in range(len(self.processes))]
        for reader in self._readers:
            reader.start()

    def _start(self, index: int) -> subprocess.Popen[str]:
        trainer = self._job["spec"]["trainer"]
        assert trainer["command"] == ["torchrun"]
        if index == 0:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._port = str(free.getsockname()[1])
        # As Trainer's torch policy tells torchrun where it is; secrets are of no use to a store that is a folder.
        meeting = {
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_NODE_RANK": str(index),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": self._port,
        }
        given = {each["name"]: each["value"] for each in trainer["env"] if "value" in each}
        self._api.runs(self._name, index)
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", *trainer["args"]],
            env={**os.environ, **given, **meeting, "OMP_NUM_THREADS": "1", "HF_HOME": "/nonexistent"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _read(self, index: int) -> None:
        process, pod = self.processes[index], self._api.runs(self._name, index)
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                self._api.logs_line(pod, line.rstrip("\n"))
        code = process.wait()
        ended: dict[str, Any] = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        self._api.runs(self._name, index, phase="Failed" if code else "Succeeded", ended=ended)

    def end(self) -> list[int]:
        """Wait for all of them, and have the job end as they did; returns their exit codes."""
        for reader in self._readers:
            reader.join()
        codes = [process.returncode for process in self.processes]
        if any(codes):
            self._api.says(self._name, "Failed", "JobsFailed", "jobset failed due to one or more job failures")
        else:
            self._api.says(self._name, "Complete", "JobsCompleted", "jobset completed successfully")
        return codes
