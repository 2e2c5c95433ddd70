"""Runs the real server around a scripted engine: scripted_server.py FOLDER PORT GATE.

Loading lasts until the file GATE exists; a gate that holds "fail" makes it fail. For the entity "slow" the
engine writes a file of this name beside the gate and goes on once it was deleted.
"""

import re
import sys
import threading
import time
from pathlib import Path

from deepperception.errors import DeepPerceptionError, InputError
from deepperception.serving.requests import Limits
from deepperception.serving.server import serve

GATE = Path(sys.argv[3])
SLOW = GATE.with_name("slow")
LIMITS = Limits(
    body_bytes=400_000,
    picture_bytes=100_000,
    picture_pixels=1_000_000,
    request_pixels=1_500_000,
    instances=4,
    waiting=6,
)


class ScriptedEngine:
    """Says what it was asked: the entity decides the reply, which also tells about the call it came from."""

    def __init__(self, folder, *, max_pixels):
        self.backend = {"engine": "scripted"}
        while not GATE.exists():
            time.sleep(0.05)
        if GATE.read_text() == "fail":
            raise InputError("the weights do not fit the configuration; copy the checkpoint again.")
        self.calls, self.inside, self.most_inside, self.lock = 0, 0, 0, threading.Lock()

    def generate(self, requests, decoding):
        with self.lock:
            self.calls += 1
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            for request in requests:
                entity = re.search(r"object_ref_start\|>(.*?)<\|object_ref_end", request.text)[1]
                yield [self.reply(entity, request, decoding, len(requests))]
        finally:
            with self.lock:
                self.inside -= 1

    def reply(self, entity, request, decoding, batch):
        if entity == "crash":
            raise RuntimeError("out of memory at 0x7f")
        if entity == "slow":
            SLOW.touch()
            while SLOW.exists():
                time.sleep(0.05)
        if entity == "nothing":
            return "I see no such thing."
        about = f"call {self.calls} of {batch}, at once {self.most_inside}, {decoding.max_new_tokens} tokens"
        return f"<think>{about}, {request.text!r}</think><answer> {entity}(250,100),(500,900) </answer>"


if __name__ == "__main__":
    try:
        serve(Path(sys.argv[1]), port=int(sys.argv[2]), limits=LIMITS, open_engine=ScriptedEngine)
    except DeepPerceptionError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
