"""Qwen-VL checkpoints through transformers' own generate, in batches, on whatever device is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from deepperception.errors import InputError
from deepperception.inference.ahead import ahead
from deepperception.inference.backend import transformers_backend
from deepperception.inference.chat import prompt
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.images import MAX_ASPECT, open_image, stored_pixels
from deepperception.inference.loading import load_model
from deepperception.inference.processor import load_processor
from deepperception.inference.shrinking import Chances, shrinking

# A hot or untrained model can sample a picture's placeholder, and generation then fails for want of the picture.
PLACEHOLDERS = ("<|image_pad|>", "<|video_pad|>")
# Of so many requests those of like length are put together, which saves padding; their encoded pictures are in memory.
_BATCHES_AT_ONCE = 4
_CHARACTERS_A_TOKEN = 4  # roughly, in English

Numbered = tuple[int, Request]


@dataclass
class _Batch:
    """Requests by their place in the call, those that can be asked as the model takes them."""

    asked: list[Numbered] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    inputs: Any = None


class TransformersEngine:
    """A checkpoint folder, loaded once.

    `max_pixels` bounds each picture after resizing; give what the model was trained with.
    """

    def __init__(self, folder: Path, *, max_pixels: int, batch_size: int = 64) -> None:
        model = load_model(folder)
        self._attach(model, load_processor(folder, max_pixels=max_pixels), batch_size)

    @classmethod
    def around(cls, model: Any, processor: Any, *, batch_size: int = 64) -> TransformersEngine:
        """An engine over a model that is loaded already, such as a policy in training."""
        engine = cls.__new__(cls)
        engine._attach(model, processor, batch_size)
        return engine

    def _attach(self, model: Any, processor: Any, batch_size: int) -> None:
        self.model, self.processor, self.batch_size = model, processor, batch_size
        self.backend = transformers_backend(model.dtype)

    def generate(self, requests: Iterable[Request], decoding: Decoding) -> Iterator[list[str]]:
        """Replies in request order.

        While the model is at one batch, the pictures of the next are decoded; no further ones are.
        """
        was_training = self.model.training
        self.model.eval()
        ready: dict[int, list[str]] = {}
        place = 0
        try:
            batches = ahead(self._prepared, self._batches(requests, decoding), workers=1, at_most=2)
            for number, batch in enumerate(batches):
                ready |= self._answered(batch, decoding, number)
                while place in ready:
                    yield ready.pop(place)
                    place += 1
        finally:
            self.model.train(was_training)

    def _batches(self, requests: Iterable[Request], decoding: Decoding) -> Iterator[list[Numbered]]:
        """Requests of like length together, unless their company decides what is drawn."""
        source, place = iter(requests), 0
        while window := list(islice(source, _BATCHES_AT_ONCE * self.batch_size)):
            numbered = list(enumerate(window, start=place))
            place += len(window)
            if decoding.temperature == 0 or all(request.seed is not None for request in window):
                # The longest first: where memory will not do, it is known at once.
                numbered.sort(key=lambda each: self._length(each[1]), reverse=True)
            for first in range(0, len(numbered), self.batch_size):
                yield numbered[first : first + self.batch_size]

    def _length(self, request: Request) -> float:
        """About how many tokens the request takes."""
        characters = sum(len(text) for _, text, _ in request.turns())
        images = self.processor.image_processor
        pixels = min(stored_pixels(request.image), images.size["longest_edge"])
        return characters / _CHARACTERS_A_TOKEN + pixels / (images.patch_size * images.merge_size) ** 2

    def _prepared(self, requests: Sequence[Numbered]) -> _Batch:
        batch = _Batch()
        images = []
        pictures = ahead(_picture, [request for _, request in requests], at_most=max(1, len(requests)))
        for (place, request), image in zip(requests, pictures, strict=True):
            if image is None:
                batch.unreadable.append(place)
            else:
                batch.asked.append((place, request))
                images.append([image])
        if images:
            texts = [prompt(self.processor, request) for _, request in batch.asked]
            batch.inputs = self.processor(text=texts, images=images, padding=True, return_tensors="pt")
        return batch

    def _answered(self, batch: _Batch, decoding: Decoding, number: int) -> dict[int, list[str]]:
        answered: dict[int, list[str]] = {place: [] for place in batch.unreadable}
        if batch.asked:
            # Without seeds of their own, requests draw by their batch's.
            with torch.random.fork_rng(), torch.inference_mode():
                torch.manual_seed(decoding.seed * 1_000_003 + number)
                replies = self._replies(batch, decoding)
            answered |= {place: each for (place, _), each in zip(batch.asked, replies, strict=True)}
        return answered

    def _replies(self, batch: _Batch, decoding: Decoding) -> list[list[str]]:
        inputs = batch.inputs.to(self.model.device)
        seeds = [request.seed for _, request in batch.asked]
        how: dict[str, Any] = {"do_sample": False, "custom_generate": shrinking}
        if decoding.temperature > 0:
            how = {"do_sample": True, "temperature": decoding.temperature, "top_k": 0, "top_p": 1.0}
            if None not in seeds:
                how |= {"custom_generate": shrinking, "draw": Chances(_each(seeds, decoding), self.model.device)}
        output = self.model.generate(
            **inputs,
            max_new_tokens=decoding.max_new_tokens,
            num_return_sequences=decoding.samples,
            suppress_tokens=self.processor.tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS)),
            **how,
        )
        replies = self.processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [replies[first : first + decoding.samples] for first in range(0, len(replies), decoding.samples)]


def _each(seeds: Sequence[int | None], decoding: Decoding) -> list[int]:
    """A seed for each reply to each request."""
    return [seed * decoding.samples + n for seed in seeds if seed is not None for n in range(decoding.samples)]


def _picture(request: Request) -> Image.Image | None:
    """Decoded; None where it cannot be, and the request allows for that."""
    try:
        return open_image(request.image, max_aspect=MAX_ASPECT, name=request.name)
    except InputError:
        if request.or_nothing:
            return None
        raise
