"""A real S3 server for tests: Ceph's gateway, from Debian's packages, over one monitor and one OSD in memory.

As a library: `with Rgw.started() as server:`. As a program, until it is told to stop:

    python tests/services/rgw.py --address 0.0.0.0 --port 9000 --user models --user mlflow --keys keys.json

prints one line of JSON once it serves; SIGUSR1 kills its gateway, SIGUSR2 starts it again. Needs nothing but Python and
the packages; runs as any user.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
_PROGRAMS = ("ceph-authtool", "monmaptool", "ceph-mon", "ceph-osd", "ceph", "radosgw", "radosgw-admin")
_READY_S, _STOP_S = 120.0, 20.0

_SETTINGS = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor_port}]
public addr = 127.0.0.1
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$type.$id.asok
log file = {folder}/$type.$id.log
crash dir = {folder}
mon cluster log file = {folder}/cluster.log
pid file =
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {memory_bytes}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
ms bind ipv6 = false
rgw thread pool size = 32
rgw cache enabled = false
rgw run sync thread = false
rgw enable quota threads = false
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable usage log = false
"""


@dataclass(frozen=True)
class Key:
    """Of one S3 user."""

    access_key: str
    secret_key: str


class Rgw:
    """One monitor, one OSD and one gateway, in a folder of their own."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", port: int = 0, memory_bytes: int = 8 << 30) -> None:
        self.folder, self.address, self.port = folder, address, port or _free_port()
        self._conf, self._memory_bytes = folder / "ceph.conf", memory_bytes
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @staticmethod
    def missing() -> str | None:
        """What must be installed first; None where nothing is missing."""
        if all(map(shutil.which, _PROGRAMS)):
            return None
        return f"needs a real S3 server: apt-get install --no-install-recommends {' '.join(PACKAGES)}"

    @classmethod
    @contextlib.contextmanager
    def started(cls, address: str = "127.0.0.1", port: int = 0) -> Iterator[Rgw]:
        """A server that takes requests; it and its folder are gone afterwards."""
        # Not in the test's own folder: the path of a socket may have 107 characters.
        with tempfile.TemporaryDirectory(prefix="rgw-") as folder:
            server = cls(Path(folder), address, port)
            try:
                server.start()
                yield server
            finally:
                server.stop()

    @property
    def endpoint(self) -> str:
        host = "127.0.0.1" if self.address == "0.0.0.0" else self.address
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Make the cluster and start all of it; RuntimeError with the log where it does not come up."""
        self._start_monitor()
        self._start_osd()
        self.start_gateway()

    def start_gateway(self) -> None:
        """Start the gateway, or start it again on its old port, and wait until it answers."""
        listen = f"beast endpoint={self.address}:{self.port}"
        self._spawn("radosgw", "-n", "client.admin", "-f", "--rgw_frontends", listen)
        self._await("radosgw", self._answers)

    def kill_gateway(self) -> None:
        """SIGKILL: clients see their connections break, and new ones refused. What was stored stays."""
        self._daemons["radosgw"].kill()
        self._daemons.pop("radosgw").wait()

    def create_user(self, name: str) -> Key:
        """A user with a random key, and a right to nothing but what they make."""
        key = Key(secrets.token_hex(10), secrets.token_hex(20))
        new = ("--uid", name, "--display-name", name, "--access-key", key.access_key, "--secret-key", key.secret_key)
        self._run("radosgw-admin", "-n", "client.admin", "user", "create", *new)
        return key

    def stop(self) -> None:
        """End all of it, the gateway first."""
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def _start_monitor(self) -> None:
        fsid, monitor_port = str(uuid.uuid4()), _free_port()
        self._conf.write_text(
            _SETTINGS.format(fsid=fsid, folder=self.folder, monitor_port=monitor_port, memory_bytes=self._memory_bytes)
        )
        keyring, monmap = self.folder / "keyring", self.folder / "monmap"
        everything = [part for kind in ("mon", "osd", "mgr") for part in ("--cap", kind, "allow *")]
        for name in ("mon.", "client.admin", "osd.0"):
            create = () if keyring.exists() else ("--create-keyring",)
            self._run("ceph-authtool", str(keyring), *create, "--gen-key", "-n", name, *everything)
        address = f"[v2:127.0.0.1:{monitor_port}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, str(monmap))
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", str(monmap), "--keyring", str(keyring))
        self._spawn("ceph-mon", "-i", "a", "-f")
        self._await("ceph-mon", lambda: self._ceph("mon", "stat"))

    def _start_osd(self) -> None:
        osd = str(uuid.uuid4())
        (self.folder / "osd").mkdir()
        if not self._ceph("osd", "new", osd, "0"):
            raise RuntimeError(f"the OSD could not be announced:\n{self._told()}")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._spawn("ceph-osd", "-i", "0", "-f")

    def _run(self, program: str, *arguments: str) -> None:
        command = [program, "-c", str(self._conf), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_READY_S, check=False)
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stderr}\n{self._told()}")

    def _ceph(self, *arguments: str) -> bool:
        command = ["ceph", "-c", str(self._conf), "--connect-timeout", "5", *arguments]
        return not subprocess.run(command, capture_output=True, timeout=_READY_S, check=False).returncode

    def _spawn(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.out").open("ab") as output:
            self._daemons[program] = subprocess.Popen(
                [program, "-c", str(self._conf), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_die_with_parent,
            )

    def _await(self, program: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_S
        while not ready():
            if self._daemons[program].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{program} does not come up:\n{self._told()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint, timeout=5):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return error.code < 500
        except OSError:
            return False

    def _told(self) -> str:
        """How the daemons' own output ends."""
        ends = [f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in self.folder.glob("*.out")]
        return "\n".join(ends)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """No daemon outlives a test run that was killed, nor the thread that started it: start them in one that stays."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(description="A real S3 server for tests, until it is told to stop.")
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--user", action="append", default=[], metavar="NAME", help="make this user; may be repeated")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="write the users' keys here, readable by you alone")
    options = parser.parse_args()
    if told := Rgw.missing():
        print(told, file=sys.stderr)
        return 1
    if options.user and not options.keys:
        parser.error("--user needs --keys FILE, for their keys are random")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Rgw.started(options.address, options.port) as server:
        if options.keys:
            keys = {name: vars(server.create_user(name)) for name in options.user}
            options.keys.touch(mode=0o600)
            options.keys.write_text(json.dumps(keys, indent=2) + "\n")
        signal.signal(signal.SIGUSR1, lambda *_: server.kill_gateway())
        signal.signal(signal.SIGUSR2, lambda *_: server.start_gateway())
        print(json.dumps({"endpoint": server.endpoint, "pid": os.getpid()}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:  # it ends with the first signal, whichever that is
                signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
