"""Qwen-VL checkpoints through vLLM's offline engine, on a GPU.

What is handed to vLLM is built by functions of its own, which need no vLLM: they are what can be tested without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from deepperception.artifacts.checkpoints import check_checkpoint
from deepperception.errors import InputError
from deepperception.inference.ahead import ahead
from deepperception.inference.backend import vllm_backend
from deepperception.inference.chat import prompt
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.images import MAX_ASPECT, open_image
from deepperception.inference.processor import load_processor

# vLLM batches as it goes along and is idle only at a call's end: a call takes more requests than run at once.
_CALL_BATCHES = 2
_NEVER = -100.0  # vLLM's own least bias


class VllmEngine:
    """A checkpoint folder, loaded once; `batch_size` sequences run at a time.

    InputError where vLLM is not installed.
    """

    def __init__(self, folder: Path, *, max_pixels: int, batch_size: int = 64) -> None:
        self.backend = vllm_backend()
        check_checkpoint(folder)
        from vllm import LLM

        self.processor = load_processor(folder, max_pixels=max_pixels)
        self.batch_size = batch_size
        size = self.processor.image_processor.size
        self._model = LLM(**engine_arguments(folder, size, batch_size, dtype=self.backend["dtype"]))

    def generate(self, requests: Iterable[Request], decoding: Decoding) -> Iterator[list[str]]:
        """Replies in request order; the pictures of the next call are decoded while vLLM is at one."""
        from vllm import SamplingParams

        placeholders = self.processor.tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"])
        for number, call in enumerate(ahead(self._prepared, self._calls(requests), workers=1, at_most=2)):
            sampling = [
                SamplingParams(**sampling_arguments(decoding, seed, placeholders))
                for seed in _seeds(call, decoding, number * _CALL_BATCHES * self.batch_size)
            ]
            asked = [content for _, content in call if content is not None]
            outputs = iter(self._model.generate(asked, sampling, use_tqdm=False) if asked else [])
            for _, content in call:
                yield [] if content is None else [reply.text for reply in next(outputs).outputs]

    def _calls(self, requests: Iterable[Request]) -> Iterator[list[Request]]:
        source = iter(requests)
        while some := list(islice(source, _CALL_BATCHES * self.batch_size)):
            yield some

    def _prepared(self, requests: list[Request]) -> list[tuple[Request, dict[str, Any] | None]]:
        pictures = ahead(_picture, requests, at_most=max(1, len(requests)))
        return [
            (request, None if image is None else vllm_request(self.processor, request, image))
            for request, image in zip(requests, pictures, strict=True)
        ]


def engine_arguments(folder: Path, size: Mapping[str, int], batch_size: int, *, dtype: str) -> dict[str, Any]:
    """For vllm.LLM. `size` bounds each picture, in pixels after resizing, as transformers' processor has it."""
    return {
        "model": str(folder),
        "dtype": dtype,
        "max_num_seqs": batch_size,
        "limit_mm_per_prompt": {"image": 1},
        "mm_processor_kwargs": {"size": dict(size)},
        # Only what a request says decides how its reply is drawn, and never code that a checkpoint brings.
        "generation_config": "vllm",
        "trust_remote_code": False,
        "load_format": "safetensors",
        "seed": 0,
    }


def vllm_request(processor: Any, request: Request, image: Image.Image) -> dict[str, Any]:
    """For LLM.generate: the prompt in the checkpoint's own template, and the picture, upright and decoded."""
    return {"prompt": prompt(processor, request), "multi_modal_data": {"image": image}}


def sampling_arguments(decoding: Decoding, seed: int, placeholders: list[int]) -> dict[str, Any]:
    """For vllm.SamplingParams. Tokens that stand for a picture are never drawn: they would end in an error."""
    return {
        "n": decoding.samples,
        "temperature": decoding.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "max_tokens": decoding.max_new_tokens,
        "seed": seed,
        "logit_bias": dict.fromkeys(placeholders, _NEVER),
        "skip_special_tokens": True,
    }


def _seeds(call: list[tuple[Request, Any]], decoding: Decoding, first: int) -> Iterator[int]:
    for place, (request, content) in enumerate(call, start=first):
        if content is not None:
            yield decoding.seed * 1_000_003 + place if request.seed is None else request.seed


def _picture(request: Request) -> Image.Image | None:
    try:
        return open_image(request.image, max_aspect=MAX_ASPECT, name=request.name)
    except InputError:
        if request.or_nothing:
            return None
        raise
