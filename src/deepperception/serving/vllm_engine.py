"""vLLM's asynchronous engine behind a server: it joins requests to those it decodes already, and remembers prefixes.

Importing vllm takes many seconds and needs its own pins: `VllmEngine.load` does, and nothing else here.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

from deepperception.errors import InfrastructureError
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.images import MAX_ASPECT, open_image
from deepperception.inference.vllm_engine import engine_arguments, vllm_request
from deepperception.serving.live import Ending, Piece

# A hot model can sample a picture's placeholder, and generation then fails for want of the picture.
_PLACEHOLDERS = ("<|image_pad|>", "<|video_pad|>")
_NEVER = -100.0
_SEQUENCES = 64


class AsyncEngine(Protocol):
    """What is used of vllm.v1.engine.async_llm.AsyncLLM."""

    def generate(self, prompt: Any, sampling_params: Any, request_id: str) -> AsyncIterator[Any]: ...

    def shutdown(self) -> None: ...


class VllmEngine:
    """Implements LiveEngine. Closing a reply early aborts its request: vLLM does so when its generator is closed."""

    def __init__(
        self, engine: AsyncEngine, processor: Any, sampling: Callable[..., Any], backend: dict[str, Any]
    ) -> None:
        self._engine, self._processor, self._sampling = engine, processor, sampling
        self.backend = backend
        self._numbers = itertools.count()
        tokens = processor.tokenizer.convert_tokens_to_ids(list(_PLACEHOLDERS))
        self._bias = {token: _NEVER for token in tokens}

    @classmethod
    def load(cls, folder: Path, *, max_pixels: int) -> VllmEngine:
        """The checkpoint on this machine's GPU; InfrastructureError where vllm is not installed."""
        try:
            import vllm
            from vllm import AsyncEngineArgs, SamplingParams
            from vllm.sampling_params import RequestOutputKind
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise InfrastructureError(
                f"vllm cannot be imported ({error}); install the extra 'gpu', or serve with --engine transformers."
            ) from None
        from deepperception.inference.processor import load_processor

        processor = load_processor(folder, max_pixels=max_pixels)
        size = processor.image_processor.size
        edges = {name: int(size[name]) for name in ("shortest_edge", "longest_edge")}
        arguments = live_arguments(folder, edges)
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))

        def sampling(**chosen: Any) -> Any:
            return SamplingParams(output_kind=RequestOutputKind.DELTA, **chosen)

        backend = {"engine": "vllm", "version": vllm.__version__, "dtype": arguments["dtype"]}
        return cls(engine, processor, sampling, backend)

    async def stream(
        self, request: Request, decoding: Decoding, *, pixels: int = 0, listen: bool = True
    ) -> AsyncIterator[Piece]:
        """See LiveEngine."""
        prompt_tokens = reply_tokens = 0
        image = open_image(request.image, max_aspect=MAX_ASPECT, name=request.name)
        asked = vllm_request(self._processor, request, image)
        identity = f"request-{next(self._numbers)}"
        async for output in self._engine.generate(asked, self._chosen(decoding), identity):
            (said,) = output.outputs
            prompt_tokens = len(output.prompt_token_ids or ()) or prompt_tokens
            reply_tokens += len(said.token_ids)
            if output.finished:
                yield Piece(said.text, Ending(prompt_tokens, reply_tokens, said.finish_reason == "length"))
                return
            if said.text:
                yield Piece(said.text)

    async def close(self) -> None:
        """Ends vLLM's own processes."""
        self._engine.shutdown()

    def _chosen(self, decoding: Decoding) -> Any:
        return self._sampling(
            max_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            seed=decoding.seed if decoding.temperature > 0 else None,
            skip_special_tokens=True,
            logit_bias=self._bias,
        )


def live_arguments(folder: Path, size: dict[str, int]) -> dict[str, Any]:
    """What AsyncLLM is started with: the offline engine's arguments, and prefixes kept, for all ask alike."""
    return {
        **engine_arguments(folder, size, _SEQUENCES, dtype="bfloat16"),
        "enable_prefix_caching": True,
        # Words may bring addresses, never local files.
        "allowed_local_media_path": "",
    }
