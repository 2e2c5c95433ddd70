"""Runs the real server around a scripted engine: scripted_server.py FOLDER PORT GATE [SETTINGS].

Loading lasts until the file GATE exists; a gate that holds "fail" makes it fail. For the entity "slow" the
engine writes a file of this name beside the gate, after the first word, and goes on once it was deleted. SETTINGS is
JSON: {"limits": {...}, "settings": {...}}, in the place of what is below.
"""

import dataclasses
import json
import re
import sys
import threading
import time
from pathlib import Path

from deepperception.errors import DeepPerceptionError, InputError
from deepperception.inference.streaming import Said
from deepperception.serving.limits import Batching, Limits
from deepperception.serving.server import Settings, serve

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

    def stream(self, requests, decoding, *, heard, listens, needed):
        with self.lock:
            self.calls += 1
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            return [
                self.said(place, each, decoding, heard, listens, len(requests)) for place, each in enumerate(requests)
            ]
        finally:
            with self.lock:
                self.inside -= 1

    def generate(self, requests, decoding):
        raise AssertionError("a server listens")

    def said(self, place, request, decoding, heard, listens, batch):
        found = re.search(r"object_ref_start\|>(.*?)<\|object_ref_end", request.text)
        entity = found[1] if found else request.text
        if entity == "crash":
            raise RuntimeError("out of memory at 0x7f")
        text = self.reply(entity, request, decoding, batch)
        words = re.findall(r"\S+\s*", text)
        for number, word in enumerate(words):
            if listens(place):
                heard({place: word})
            if entity == "slow" and number == 0:
                SLOW.touch()
                while SLOW.exists():
                    time.sleep(0.05)
        return Said(text, 20, len(words), len(words) >= decoding.max_new_tokens)

    def reply(self, entity, request, decoding, batch):
        if entity == "nothing":
            return "I see no such thing."
        if entity == "mumble":
            return "<think>it could be (12,"
        about = f"call {self.calls} of {batch}, at once {self.most_inside}, {decoding.max_new_tokens} tokens"
        return f"<think>{about}, {request.text!r}</think><answer> {entity}(250,100),(500,900) </answer>"


def given():
    """Limits and settings as asked for."""
    asked = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    settings = asked.get("settings", {})
    if "golden" in settings:
        settings["golden"] = Path(settings["golden"])
    if "batching" in settings:
        settings["batching"] = Batching(**settings["batching"])
    return dataclasses.replace(LIMITS, **asked.get("limits", {})), Settings(**settings)


if __name__ == "__main__":
    try:
        limits, settings = given()
        serve(Path(sys.argv[1]), port=int(sys.argv[2]), limits=limits, settings=settings, open_engine=ScriptedEngine)
    except DeepPerceptionError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
