"""From a picture and a name to a box: what the server and the command line share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.artifacts.checkpoints import Interface, check_checkpoint, read_interface
from deepperception.grounding import parse, question, render
from deepperception.inference.engine import Decoding, Engine, Request

PixelBox = tuple[float, float, float, float]

_BOX_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class Query:
    """A name to find on a picture: `image` the encoded file, `size` its upright width and height in pixels."""

    image: bytes
    size: tuple[int, int]
    entity: str

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was found. Both boxes are None where the reply holds none, `reasoning` where the model does not think.

    `box` is in pixels of the upright picture (EXIF rotation applied), `box_1000` in the 0-1000 frame; `text` is the
    whole reply.
    """

    box: PixelBox | None
    box_1000: PixelBox | None
    reasoning: str | None
    text: str

    def to_json(self) -> dict[str, Any]:
        """One entry of the v1 response's `predictions`."""
        return {
            "box": None if self.box is None else list(self.box),
            "box_1000": None if self.box_1000 is None else list(self.box_1000),
            "reasoning": self.reasoning,
            "text": self.text,
        }


class Finder:
    """Asks a model in the way its interface file says, and reads its replies tolerantly."""

    def __init__(self, engine: Engine, interface: Interface) -> None:
        self.engine, self.interface = engine, interface

    @classmethod
    def load(cls, folder: Path, open_engine: Callable[..., Engine] | None = None) -> Finder:
        """The model in a checkpoint folder; `open_engine` replaces the transformers engine and is called as that is."""
        check_checkpoint(folder)
        interface = read_interface(folder)
        if open_engine is None:
            from deepperception.inference.transformers_engine import TransformersEngine

            open_engine = TransformersEngine
        return cls(open_engine(folder, max_pixels=interface.max_pixels), interface)

    def find(self, queries: Sequence[Query]) -> list[Prediction]:
        """One prediction a query, in order, from a single call of the engine; greedy decoding."""
        requests = [Request(render(self.interface.prompt, question(query.entity)), query.image) for query in queries]
        decoding = Decoding(max_new_tokens=self.interface.max_new_tokens)
        replies = self.engine.generate(requests, decoding)
        return [read_reply(reply[0], query.size) for reply, query in zip(replies, queries, strict=True)]


def read_reply(text: str, size: tuple[int, int]) -> Prediction:
    """What a reply says about a picture of this upright size."""
    parsed = parse(text)
    if parsed.box is None:
        return Prediction(None, None, parsed.reasoning, text)
    x1, y1, x2, y2 = (round(corner, _BOX_DECIMALS) for corner in parsed.box.to_pixels(*size))
    return Prediction((x1, y1, x2, y2), parsed.box.as_tuple(), parsed.reasoning, text)
