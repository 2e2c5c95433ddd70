"""Scoring a benchmark: in batches against one case at a time, the way of the paper's script."""

from __future__ import annotations

import importlib.resources
import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.pairs import Pair

CASES = 64
MAX_NEW_TOKENS = 64
MAX_PIXELS = 12_544
GOAL = 4.0


def pair() -> Pair:
    """The shipped base checkpoint on freshly drawn scenes, greedy; both ways must say the same."""
    from deepperception.inference.engine import Decoding
    from deepperception.inference.transformers_engine import TransformersEngine

    folder = Path(str(importlib.resources.files("deepperception.bestiary") / "base"))
    engine = TransformersEngine(folder, max_pixels=MAX_PIXELS, batch_size=CASES)
    requests = scenes(CASES)

    def in_batches() -> list[str]:
        return [replies[0] for replies in engine.generate(requests, Decoding(MAX_NEW_TOKENS))]

    return Pair("evaluation_vs_one_by_one", in_batches, lambda: one_by_one(engine, requests), GOAL)


def one_by_one(engine: Any, requests: Sequence[Any]) -> list[str]:
    """Transformers' generate, a case a call: nothing of the engine's but its model, processor and chat template."""
    import torch

    from deepperception.inference.images import open_image
    from deepperception.inference.transformers_engine import PLACEHOLDERS

    model, processor = engine.model, engine.processor
    suppressed = processor.tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS))
    replies = []
    for request in requests:
        content = [{"type": "image"}, {"type": "text", "text": request.text}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(text=[text], images=[open_image(request.image)], return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(
                **inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, suppress_tokens=suppressed
            )
        replies += processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return replies


def scenes(count: int) -> list[Any]:
    """Questions about drawn scenes, with pictures as PNG files."""
    from deepperception.bestiary.scenes import draw_scene
    from deepperception.grounding import question, render
    from deepperception.inference.engine import Request

    requests = []
    for number in range(count):
        scene = draw_scene(random.Random(number))
        buffer = io.BytesIO()
        assert scene.picture is not None
        scene.picture.save(buffer, "PNG")
        requests.append(Request(render("r1", question(f"Thing {number}")), buffer.getvalue()))
    return requests
