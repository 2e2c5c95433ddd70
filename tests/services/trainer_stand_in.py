"""Kubernetes' API in memory, over HTTP: as much as a launcher of TrainJobs asks of it, and Trainer's part in it.

What is created is checked against Trainer's own schema, where that is at hand; breaches are kept in `violations`. A
test plays the controller: it says that a job is suspended, fails or is complete, what its pods are, and what they log.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAMESPACE = "deepperception-runs"
_JOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
_CORE = f"/api/v1/namespaces/{NAMESPACE}"
_NOW = "2026-01-01T00:00:00Z"


class StandIn:
    """One namespace."""

    def __init__(self, schema: dict[str, Any] | None = None) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[str]] = {}
        self.events: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.violations: list[str] = []
        self.down = 0
        """So many of the next requests are cut off."""
        self.refusal: tuple[int, str] | None = None
        """Status and message for every request."""
        self.lingers = False
        """Whether a deleted job waits for its pods, until `bury`."""
        self.changed = threading.Condition()
        self.version = 0
        self._history: list[tuple[int, str, dict[str, Any]]] = []
        self._schema = schema

    # What a test says, in the controller's place.

    def says(self, name: str, kind: str, reason: str, message: str = "so it is", status: str = "True") -> None:
        """Set a condition of the job."""
        with self.changed:
            conditions = self.jobs[name].setdefault("status", {}).setdefault("conditions", [])
            conditions[:] = [each for each in conditions if each["type"] != kind]
            conditions.append(
                {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": _NOW}
            )
            self._note("MODIFIED", self.jobs[name])

    def runs(self, name: str, index: int = 0, phase: str = "Running", **status: Any) -> str:
        """Set a pod of the job; returns its name. `status` holds `ended`, `waiting` and `conditions`."""
        pod = f"{name}-node-0-{index}-abcde"
        state: dict[str, Any] = {"running": {"startedAt": _NOW}}
        if "ended" in status:
            state = {"terminated": {"finishedAt": _NOW, **status["ended"]}}
        elif "waiting" in status:
            state = {"waiting": {"reason": status["waiting"]}}
        containers = [] if "conditions" in status and phase == "Pending" else [state]
        with self.changed:
            self.pods[pod] = {
                "metadata": {
                    "name": pod,
                    "namespace": NAMESPACE,
                    "labels": {"jobset.sigs.k8s.io/jobset-name": name},
                    "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
                },
                "spec": {"containers": [{"name": "node"}]},
                "status": {
                    "phase": phase,
                    "conditions": status.get("conditions", []),
                    "containerStatuses": [
                        {"name": "node", "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": each}
                        for each in containers
                    ],
                },
            }
            self.logs.setdefault(pod, [])
            self.changed.notify_all()
        return pod

    def logs_line(self, pod: str, line: str) -> None:
        """The pod says a line."""
        with self.changed:
            minute, second = divmod(len(self.logs[pod]), 60)
            stamp = f"2026-01-01T00:{minute:02}:{second:02}.5Z"
            self.logs[pod].append(f"{stamp} {line}")
            self.changed.notify_all()

    def removes(self, name: str) -> None:
        """Somebody deletes the job."""
        with self.changed:
            self._note("DELETED", self.jobs.pop(name))

    def bury(self) -> None:
        """The pods of deleted jobs are gone."""
        with self.changed:
            for name in [name for name, job in self.jobs.items() if "deletionTimestamp" in job["metadata"]]:
                self._note("DELETED", self.jobs.pop(name))

    def until(self, condition: Any, seconds: float = 30) -> None:
        """Wait for what somebody else does."""
        until = time.monotonic() + seconds
        with self.changed:
            # Not all that is waited for comes with a call that would wake this thread.
            while not (true := condition()) and time.monotonic() < until:
                self.changed.wait(0.1)
            assert true, f"it did not come true; asked so far: {self.asked[-20:]}"

    # What a client asks.

    def create(self, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = job["metadata"]["name"]
        self._check(job)
        if name in self.jobs:
            return _error(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
        job = copy.deepcopy(job)
        job["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": _NOW}
        # As Trainer's admission leaves it: a launcher may not compare what it finds with what it sent.
        job["spec"] |= {"suspend": False, "managedBy": "trainer.kubeflow.org/trainjob-controller"}
        for patch in job["spec"].get("runtimePatches", []):
            patch["time"] = _NOW
        self.jobs[name] = job
        self._note("ADDED", job)
        return 201, job

    def delete(self, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self.jobs:
            return _error(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
        if self.lingers:
            self.jobs[name]["metadata"]["deletionTimestamp"] = _NOW
            self._note("MODIFIED", self.jobs[name])
        else:
            self._note("DELETED", self.jobs.pop(name))
        return 200, {"kind": "Status", "status": "Success"}

    def listed(self, kind: str, query: dict[str, str]) -> dict[str, Any]:
        metadata = {"resourceVersion": str(self.version)}
        if kind == "trainjobs":
            wanted = query.get("fieldSelector", "").removeprefix("metadata.name=")
            return {"items": [job for name, job in self.jobs.items() if name == wanted], "metadata": metadata}
        if kind == "pods":
            job = query["labelSelector"].partition("=")[2]
            label = "jobset.sigs.k8s.io/jobset-name"
            found = [pod for pod in self.pods.values() if pod["metadata"]["labels"][label] == job]
            return {"kind": "PodList", "apiVersion": "v1", "items": found, "metadata": metadata}
        return {"kind": "EventList", "apiVersion": "v1", "items": self.events, "metadata": metadata}

    def since(self, version: int, name: str) -> list[tuple[int, str, dict[str, Any]]]:
        return [each for each in self._history if each[0] > version and each[2]["metadata"]["name"] == name]

    def _note(self, kind: str, job: dict[str, Any]) -> None:
        self.version += 1
        job["metadata"]["resourceVersion"] = str(self.version)
        self._history.append((self.version, kind, copy.deepcopy(job)))
        self.changed.notify_all()

    def _check(self, job: dict[str, Any]) -> None:
        if self._schema is None:
            return
        from jsonschema import Draft202012Validator

        for fault in Draft202012Validator(self._schema).iter_errors(job):
            self.violations.append(f"{'.'.join(map(str, fault.absolute_path))}: {fault.message}")


@contextmanager
def served(stand_in: StandIn) -> Iterator[str]:
    """Its URL, while the block runs."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            with stand_in.changed:
                watches = " (watch)" if "watch" in query else ""
                stand_in.asked.append(f"{self.command} {parts.path.rpartition('/deepperception-runs/')[2]}{watches}")
                stand_in.changed.notify_all()
                if stand_in.down:
                    stand_in.down -= 1
                    self.close_connection = True
                    self.connection.close()
                    return
                refusal = stand_in.refusal
            if refusal:
                return self._json(*_error(*refusal))
            self._answer(parts.path, query, body)

        def _answer(self, path: str, query: dict[str, str], body: bytes) -> None:
            if log := re.fullmatch(f"{_CORE}/pods/([^/]+)/log", path):
                return self._log(log[1], query)
            if path == _JOBS and self.command == "GET" and query.get("watch") in ("true", "True"):
                return self._watch(query)
            with stand_in.changed:
                if path == _JOBS and self.command == "POST":
                    status, answer = stand_in.create(json.loads(body))
                elif self.command == "DELETE" and path.startswith(f"{_JOBS}/"):
                    status, answer = stand_in.delete(path.rpartition("/")[2])
                elif self.command == "GET" and path in (_JOBS, f"{_CORE}/pods", f"{_CORE}/events"):
                    status, answer = 200, stand_in.listed(path.rpartition("/")[2], query)
                else:
                    status, answer = _error(404, f"{self.command} {path} is not implemented")
                answer = copy.deepcopy(answer)
            self._json(status, answer)

        def _watch(self, query: dict[str, str]) -> None:
            name, version = query["fieldSelector"].removeprefix("metadata.name="), int(query["resourceVersion"])
            self._begin()
            end = threading.Event()
            timer = threading.Timer(float(query["timeoutSeconds"]), end.set)
            timer.daemon = True
            timer.start()
            while not (end.is_set() or over.is_set()):
                with stand_in.changed:
                    news = stand_in.since(version, name)
                    if not news:
                        stand_in.changed.wait(0.05)
                        continue
                for version, kind, job in news:  # noqa: B007
                    self._chunk(json.dumps({"type": kind, "object": job}).encode() + b"\n")
            self._chunk(b"")

        def _log(self, pod: str, query: dict[str, str]) -> None:
            with stand_in.changed:
                lines = list(stand_in.logs[pod])
            self._begin()
            if tail := query.get("tailLines"):
                for line in lines[-int(tail) :]:
                    self._chunk(line.partition(" ")[2].encode() + b"\n")
                return self._chunk(b"")
            sent = 0
            while not over.is_set():
                with stand_in.changed:
                    lines = stand_in.logs[pod][sent:]
                    state = stand_in.pods[pod]["status"]["containerStatuses"][0]["state"]
                    if not lines and "running" not in state:
                        break
                    if not lines:
                        stand_in.changed.wait(0.05)
                for line in lines:
                    self._chunk(line.encode() + b"\n")
                sent += len(lines)
            self._chunk(b"")

        def _begin(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

        def _chunk(self, content: bytes) -> None:
            self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
            self.wfile.flush()

        def _json(self, status: int, answer: dict[str, Any]) -> None:
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = _any

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that was killed in the midst of an answer

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _error(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"kind": "Status", "status": "Failure", "message": message, "code": status}
