"""The transformers engine, heard while it speaks: a batch is decoded together, each reply arrives as it grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from deepperception.inference.chat import prompt
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.images import MAX_ASPECT, open_image
from deepperception.inference.transformers_engine import PLACEHOLDERS, TransformersEngine

_UNFINISHED = "\ufffd"
"""What a tokenizer makes of the first bytes of a character."""


@dataclass(frozen=True, slots=True)
class Said:
    """A whole reply."""

    text: str
    prompt_tokens: int
    reply_tokens: int
    cut_off: bool


class StreamingEngine(TransformersEngine):
    """One call is one batch, whatever its size."""

    def stream(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        *,
        heard: Callable[[dict[int, str]], None],
        listens: Callable[[int], bool],
        needed: Callable[[int], bool],
    ) -> list[Said]:
        """One reply a request, in order (`decoding.samples` is 1).

        After every step `heard` gets the new text of those requests (by their place) for which `listens`; a reply that
        is no longer `needed` ends where it is.
        """
        ears = _Ears(self.processor.tokenizer, heard, listens)
        watch = StoppingCriteriaList([_Unneeded(needed)])
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(decoding.seed)
            inputs = self._inputs(requests)
            output = self.model.generate(**inputs, **self._how(decoding), streamer=ears, stopping_criteria=watch)
        ears.flush()
        prompts = inputs["attention_mask"].sum(dim=1).tolist()
        replies = output[:, inputs["input_ids"].shape[1] :]
        return [
            self._said(row, prompt, decoding.max_new_tokens)
            for row, prompt in zip(replies.tolist(), prompts, strict=True)
        ]

    def _inputs(self, requests: Sequence[Request]) -> Any:
        texts = [prompt(self.processor, request) for request in requests]
        images = [[open_image(each.image, max_aspect=MAX_ASPECT, name=each.name)] for each in requests]
        return self.processor(text=texts, images=images, padding=True, return_tensors="pt").to(self.model.device)

    def _how(self, decoding: Decoding) -> dict[str, Any]:
        drawn = {"do_sample": True, "temperature": decoding.temperature, "top_k": 0, "top_p": 1.0}
        return {
            "max_new_tokens": decoding.max_new_tokens,
            "suppress_tokens": self.processor.tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS)),
            **(drawn if decoding.temperature > 0 else {"do_sample": False}),
        }

    def _said(self, row: list[int], prompt_tokens: int, longest: int) -> Said:
        ends = self._ends()
        length = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
        text = self.processor.tokenizer.decode(row[:length], skip_special_tokens=True)
        cut_off = length >= longest and row[length - 1 : length] != [] and row[length - 1] not in ends
        return Said(text, prompt_tokens, length, cut_off)

    def _ends(self) -> set[int]:
        ends = self.model.generation_config.eos_token_id
        known = set(ends) if isinstance(ends, list) else {ends}
        return {token for token in (*known, self.processor.tokenizer.pad_token_id) if token is not None}


class _Ears(BaseStreamer):
    """Turns the tokens of every step into the text that each reply has gained."""

    def __init__(self, tokenizer: Any, heard: Callable[[dict[int, str]], None], listens: Callable[[int], bool]) -> None:
        self._tokenizer, self._heard, self._listens = tokenizer, heard, listens
        self._rows: list[list[int]] | None = None
        self._starts: list[tuple[int, int]] = []

    def put(self, value: torch.Tensor) -> None:
        if self._rows is None:  # transformers begins with the prompts
            self._rows = [[] for _ in range(len(value))]
            self._starts = [(0, 0)] * len(value)
            return
        for row, token in zip(self._rows, value.reshape(len(self._rows), -1)[:, -1].tolist(), strict=True):
            row.append(token)
        self._tell(whole=False)

    def end(self) -> None:
        """Called by transformers at the end of its own loop; `flush` says the rest."""

    def flush(self) -> None:
        if self._rows is not None:
            self._tell(whole=True)

    def _tell(self, *, whole: bool) -> None:
        assert self._rows is not None
        gained = {place: self._new_text(place, whole) for place in range(len(self._rows)) if self._listens(place)}
        if gained := {place: text for place, text in gained.items() if text}:
            self._heard(gained)

    def _new_text(self, place: int, whole: bool) -> str:
        """What the row's text gained since it was last told; nothing while a character lacks some of its bytes.

        Decoded from a little before the news, for the first token of a piece may lose its space.
        """
        assert self._rows is not None
        row, (before, told) = self._rows[place], self._starts[place]
        old = self._tokenizer.decode(row[before:told], skip_special_tokens=True)
        new = self._tokenizer.decode(row[before:], skip_special_tokens=True)
        if len(new) <= len(old) or (new.endswith(_UNFINISHED) and not whole):
            return ""
        self._starts[place] = (told, len(row))
        return new[len(old) :]


class _Unneeded(StoppingCriteria):
    def __init__(self, needed: Callable[[int], bool]) -> None:
        self._needed = needed

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        ended = [not self._needed(place) for place in range(len(input_ids))]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)
