"""What a model makes of every token of a given reply: log-probabilities over its whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepperception.errors import InputError
from deepperception.inference.engine import Request
from deepperception.inference.images import MAX_ASPECT, open_image
from deepperception.inference.loading import load_model
from deepperception.inference.processor import load_processor
from deepperception.inference.transformers_engine import PLACEHOLDERS


@dataclass(frozen=True)
class Reply:
    """A reply as a model wrote it, special tokens and all: token ids, and the text of each."""

    ids: tuple[int, ...]
    pieces: tuple[str, ...]


class TeacherForcing:
    """A checkpoint folder, loaded once; one reply at a time, so that nothing is padded."""

    def __init__(self, folder: Path, *, max_pixels: int) -> None:
        self.folder = folder
        self.model = load_model(folder).eval()
        self.processor = load_processor(folder, max_pixels=max_pixels)

    @torch.inference_mode()
    def reply(self, request: Request, max_new_tokens: int) -> Reply:
        """The greedy reply, without what ends it."""
        inputs = self._inputs(request)
        tokenizer = self.processor.tokenizer
        output = self.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            suppress_tokens=tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS)),
        )
        ends = self.model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id}
        ids = output[0, inputs["input_ids"].shape[1] :].tolist()
        while ids and ids[-1] in ends:
            ids.pop()
        return Reply(tuple(ids), tuple(tokenizer.decode([token]) for token in ids))

    @torch.inference_mode()
    def log_probabilities(self, request: Request, reply: Reply) -> torch.Tensor:
        """[tokens of the reply, vocabulary] in fp32 nats: of each token, given the question and all before it."""
        inputs = self._inputs(request)
        length, more = inputs["input_ids"].shape[1], torch.tensor([reply.ids], device=self.model.device)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], more], dim=1)
        for name in ("attention_mask", "mm_token_type_ids"):
            if name in inputs:
                fill = torch.full_like(more, 1 if name == "attention_mask" else 0, dtype=inputs[name].dtype)
                inputs[name] = torch.cat([inputs[name], fill], dim=1)
        logits = self.model(**inputs, use_cache=False).logits[0, length - 1 : -1]
        return torch.log_softmax(logits.float(), dim=-1)

    def refuse_other_words(self, other: TeacherForcing) -> None:
        """InputError where the two models do not share a vocabulary: their probabilities are then of other things."""
        if self.processor.tokenizer.get_vocab() != other.processor.tokenizer.get_vocab():
            raise InputError(f"{self.folder} and {other.folder} have different vocabularies; give stages of one model.")

    def _inputs(self, request: Request) -> Any:
        content = [{"type": "image"}, {"type": "text", "text": request.text}]
        prompt = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        image = open_image(request.image, max_aspect=MAX_ASPECT, name=request.name)
        return self.processor(text=[prompt], images=[[image]], return_tensors="pt").to(self.model.device)
