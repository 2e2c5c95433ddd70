"""Qwen-VL checkpoints through transformers' own generate, in batches, on whatever device is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from deepperception.inference.backend import transformers_backend
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.images import MAX_ASPECT, open_image
from deepperception.inference.loading import load_model
from deepperception.inference.processor import load_processor

# A hot or untrained model can sample a picture's placeholder, and generation then fails for want of the picture.
PLACEHOLDERS = ("<|image_pad|>", "<|video_pad|>")


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

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[str]]:
        """Replies in request order; only one batch of pictures is decoded at a time."""
        was_training = self.model.training
        self.model.eval()
        try:
            for number, start in enumerate(range(0, len(requests), self.batch_size)):
                # Each batch has its own seed, so that a run that resumes at a batch draws the same replies.
                with torch.random.fork_rng(), torch.inference_mode():
                    torch.manual_seed(decoding.seed * 1_000_003 + number)
                    replies = self._replies(requests[start : start + self.batch_size], decoding)
                yield from replies
        finally:
            self.model.train(was_training)

    def _replies(self, requests: Sequence[Request], decoding: Decoding) -> list[list[str]]:
        texts = [self._prompt(request) for request in requests]
        images = [[open_image(each.image, max_aspect=MAX_ASPECT, name=each.name)] for each in requests]
        inputs = self.processor(text=texts, images=images, padding=True, return_tensors="pt").to(self.model.device)
        sampling = {"do_sample": True, "temperature": decoding.temperature, "top_k": 0, "top_p": 1.0}
        output = self.model.generate(
            **inputs,
            max_new_tokens=decoding.max_new_tokens,
            num_return_sequences=decoding.samples,
            suppress_tokens=self.processor.tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS)),
            **(sampling if decoding.temperature > 0 else {"do_sample": False}),
        )
        replies = self.processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [replies[first : first + decoding.samples] for first in range(0, len(replies), decoding.samples)]

    def _prompt(self, request: Request) -> str:
        said = [text for turn in request.before for text in turn] + [request.text]
        turns: list[dict[str, Any]] = [
            {"role": "assistant" if number % 2 else "user", "content": [{"type": "text", "text": text}]}
            for number, text in enumerate(said)
        ]
        turns[0]["content"].insert(0, {"type": "image"})
        return self.processor.apply_chat_template(turns, add_generation_prompt=True)
