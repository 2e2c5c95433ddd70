"""Loads and saves Qwen-VL processors, also where torchvision is not installed.

The stock processors demand a video processor, which needs torchvision; there is no CPU build of it to rely on. Images
alone need neither, so without torchvision an image-only processor of the same class name takes the stock one's place.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from deepperception.errors import InputError

# What the stock class of each family would have written; AutoProcessor, vLLM and KServe's runtimes look for the entry.
_VIDEO_PROCESSORS = {
    "Qwen2VLProcessor": "Qwen2VLVideoProcessor",
    "Qwen2_5_VLProcessor": "Qwen2VLVideoProcessor",
    "Qwen3VLProcessor": "Qwen3VLVideoProcessor",
}
_PROCESSOR_OF_MODEL = {
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
}


def load_processor(folder: Path, *, max_pixels: int | None = None) -> Any:
    """The processor of a checkpoint folder; `max_pixels` bounds every picture after resizing."""
    if importlib.util.find_spec("torchvision"):
        from transformers import AutoProcessor

        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    else:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if model_type not in _PROCESSOR_OF_MODEL:
            raise InputError(f"{folder}: model_type {model_type!r} is no Qwen-VL; give a Qwen-VL checkpoint.")
        processor = image_only(_PROCESSOR_OF_MODEL[model_type]).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    if max_pixels is not None:
        size = processor.image_processor.size
        processor.image_processor.size = {
            "shortest_edge": min(size["shortest_edge"], max_pixels),
            "longest_edge": max_pixels,
        }
    # Decoder-only generation continues from the last token: rows of a batch must end together.
    processor.tokenizer.padding_side = "left"
    return processor


def save_processor(processor: Any, folder: Path) -> None:
    """Writes the processor so that the stock AutoProcessor, with its video processor, can load it."""
    processor.save_pretrained(folder)
    path = folder / "processor_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if "video_processor" not in config:
        image = config.get("image_processor", {})
        sizes = {key: image[key] for key in ("patch_size", "temporal_patch_size", "merge_size", "size") if key in image}
        config["video_processor"] = {"video_processor_type": _VIDEO_PROCESSORS[config["processor_class"]], **sizes}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def image_only(stock_name: str) -> Any:
    """A processor class that is the stock one without its video half, under the stock name."""
    import transformers
    from transformers.processing_utils import ProcessorMixin

    stock = getattr(transformers, stock_name)

    def __init__(
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any
    ) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        self.vision_start_token, self.vision_end_token = "<|vision_start|>", "<|vision_end|>"
        self.vision_start_token_id = tokenizer.convert_tokens_to_ids(self.vision_start_token)
        self.vision_end_token_id = tokenizer.convert_tokens_to_ids(self.vision_end_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    return type(stock_name, (stock,), {"__init__": __init__, "__module__": __name__})
