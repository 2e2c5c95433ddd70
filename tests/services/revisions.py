"""What KServe makes of an InferenceService: a server process for each revision, and one address that splits requests.

Which server a model gets, a test says by its storage URI; what has no say is a good one.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("revision_server.py")
MODEL = "/v1/models/deepperception"
_GRACE_S = 60.0


def scripted(uri: str, port: int, behaviour: dict[str, Any]) -> list[str]:
    """The command of the small scripted server."""
    return [sys.executable, str(SERVER), str(port), json.dumps(behaviour)]


@dataclass
class Revision:
    """A Deployment with one pod."""

    name: str
    uri: str
    behaviour: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    restarts: int = 0
    starts: int = 0
    inside: int = 0
    """Requests that the splitting address has sent there and that are not answered yet."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_ready(self) -> bool:
        if not self.is_running():
            return False
        try:
            with urllib.request.urlopen(self.url + MODEL, timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False


@dataclass
class Revisions:
    """The controller, and all that it runs."""

    behaviours: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the digits of a digest: {"unschedulable": true}, {"crashes": true}, or what revision_server.py knows."""
    command: Callable[[str, int, dict[str, Any]], list[str]] = scripted
    revisions: dict[str, Revision] = field(default_factory=dict)
    weights: list[tuple[str, int]] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    """Storage URIs, for every process that was started."""
    _turns: dict[str, float] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.RLock)

    def reconcile(self, service: str, spec: dict[str, Any], *, restart: bool) -> None:
        """Bring the servers and the split to what the object asks."""
        wanted = self._wanted(service, spec)
        with self._lock:
            for name, (uri, replicas) in wanted.items():
                if replicas and name not in self.revisions:
                    self.revisions[name] = Revision(name, uri, self._behaviour(uri))
                    self._start(self.revisions[name])
                elif restart and name in self.revisions:
                    self._stop(self.revisions[name])
                    self._start(self.revisions[name])
            canaries = spec.get("canary", [])
            stable = 100 - sum(entry["trafficPercent"] for entry in canaries)
            names = list(wanted)
            shares = [stable, *(entry["trafficPercent"] for entry in canaries)]
            self.weights = [(name, share) for name, share in zip(names, shares, strict=True) if share]
            self._turns = {}
            gone = [self.revisions.pop(name) for name in list(self.revisions) if name not in wanted]
        for revision in gone:
            self._drain(revision)

    def status(self, service: str, spec: dict[str, Any]) -> dict[str, Any]:
        """As KServe reports it."""
        wanted = self._wanted(service, spec)
        ready = {name: name in self.revisions and self._look(self.revisions[name]) for name in wanted}
        stable, *beside = wanted
        conditions = [{"type": kind, "status": str(ready[stable])} for kind in ("PredictorReady", "Ready")]
        status: dict[str, Any] = {"conditions": conditions}
        if beside:
            told = zip(beside, spec["canary"], strict=True)
            status["canaryStatuses"] = [
                {"name": e["predictor"]["name"], "ready": ready[n], "trafficPercent": e["trafficPercent"]}
                for n, e in told
            ]
            all_ready = str(all(ready[name] for name in beside))
            conditions.append({"type": "CanaryPredictorReady", "status": all_ready})
        return status

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Of one revision, as the API lists them."""
        name = selector.removeprefix("app=isvc.")
        if name not in self.revisions:
            return []
        revision = self.revisions[name]
        ready = self._look(revision)
        if revision.behaviour.get("unschedulable"):
            why = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
            conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}]
            return [_pod(f"{name}-0", {"phase": "Pending", "conditions": conditions}, 8080)]
        state: dict[str, Any] = {"running": {}}
        if not revision.is_running():
            state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
        container = {
            **{"name": "kserve-container", "image": "server", "imageID": "", "ready": ready, "state": state},
            "restartCount": revision.restarts,
        }
        conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": str(ready)}]
        status = {"conditions": conditions, "containerStatuses": [container], "podIP": "127.0.0.1"}
        return [_pod(f"{name}-0", status, revision.port)]

    def serving(self) -> dict[str, int]:
        """Storage URI -> percent of the requests."""
        with self._lock:
            return {self.revisions[name].uri: share for name, share in self.weights}

    def next(self) -> Revision | None:
        """Whose turn it is: the one that is furthest behind its share."""
        with self._lock:
            for name, share in self.weights:
                self._turns[name] = self._turns.get(name, 0.0) + share
            if not self.weights:
                return None
            name = max(self._turns, key=lambda each: self._turns[each])
            self._turns[name] -= 100
            revision = self.revisions.get(name)
            if revision is not None:
                revision.inside += 1
            return revision

    def answered(self, revision: Revision) -> None:
        with self._lock:
            revision.inside -= 1

    def close(self) -> None:
        self.weights = []
        for revision in self.revisions.values():
            if revision.process is not None:
                revision.process.kill()
                revision.process.wait()

    def _behaviour(self, uri: str) -> dict[str, Any]:
        return next((told for digits, told in self.behaviours.items() if digits in uri), {})

    def _wanted(self, service: str, spec: dict[str, Any]) -> dict[str, tuple[str, int]]:
        """Deployment -> (storage URI, pods); the stable one first."""

        def name(predictor: dict[str, Any]) -> str:
            return f"{service}-{predictor['name']}-predictor" if predictor.get("name") else f"{service}-predictor"

        stable = spec["predictor"]
        found = {name(stable): (stable["model"]["storageUri"], stable.get("minReplicas", 1))}
        for entry in spec.get("canary", []):
            share = math.ceil(stable.get("minReplicas", 1) * entry["trafficPercent"] / 100)
            replicas = entry["predictor"].get("minReplicas", share)
            found[name(entry["predictor"])] = (entry["predictor"]["model"]["storageUri"], replicas)
        return found

    def _look(self, revision: Revision) -> bool:
        """Whether it is ready; what has died is started again, as the kubelet does, unless it always crashes."""
        if revision.process is not None and not revision.is_running() and not revision.behaviour.get("crashes"):
            revision.restarts += 1
            revision.behaviour = {**revision.behaviour, "dies_after": math.inf}
            self._start(revision)
        return revision.is_ready()

    def _start(self, revision: Revision) -> None:
        if revision.behaviour.get("unschedulable"):
            return
        revision.starts += 1
        self.started.append(revision.uri)
        if revision.behaviour.get("crashes"):
            revision.process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
            return
        revision.port = revision.port or _free_port()
        command = self.command(revision.uri, revision.port, revision.behaviour)
        revision.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def _stop(self, revision: Revision) -> None:
        if revision.process is not None:
            revision.process.terminate()
            revision.process.wait(_GRACE_S)

    def _drain(self, revision: Revision) -> None:
        deadline = time.monotonic() + _GRACE_S
        while revision.inside and time.monotonic() < deadline:
            time.sleep(0.005)
        self._stop(revision)


@contextlib.contextmanager
def gateway(revisions: Revisions) -> Iterator[str]:
    """The service's one address: every request goes to a revision, by the shares of this moment."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            revision = revisions.next()
            if revision is None:
                self._send(503, b"no revision")
                return
            try:
                request = urllib.request.Request(revision.url + self.path, data=body, headers=dict(self.headers))
                with urllib.request.urlopen(request, timeout=60) as response:
                    self._send(response.status, response.read())
            except urllib.error.HTTPError as error:
                self._send(error.code, error.read())
            except (OSError, http.client.HTTPException) as error:
                self._send(502, str(error).encode())
            finally:
                revisions.answered(revision)

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Wide(ThreadingHTTPServer):
        request_queue_size = 128

    server = Wide(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _pod(name: str, status: dict[str, Any], port: int) -> dict[str, Any]:
    container = {"name": "kserve-container", "ports": [{"containerPort": port}]}
    return {"metadata": {"name": name}, "spec": {"containers": [container]}, "status": status}
