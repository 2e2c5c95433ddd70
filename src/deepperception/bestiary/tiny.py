"""A Qwen2-VL of about a million parameters: the stock classes at the smallest size that still learns to inspect."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from deepperception.artifacts.checkpoints import Interface, write_interface
from deepperception.bestiary.tokenizer import build_tokenizer
from deepperception.bestiary.world import COORDINATE_STEP
from deepperception.inference.processor import image_only, save_processor

MAX_PIXELS = 112 * 112
_INITIAL_STD = 0.08  # the usual 0.02 starts a model this narrow too close to zero to learn


def build_tiny_model(vocabulary: int, token_id: Any) -> Any:
    """A freshly initialised Qwen2VLForConditionalGeneration; `token_id` maps a special token to its number.

    112 x 112 pixels become 8 x 8 patches and 16 picture tokens. rope_theta is smaller than the usual million because
    texts are short, and large enough to leave slow dimensions that match words over a distance.
    """
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    config = Qwen2VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
            "initializer_range": _INITIAL_STD,
            "bos_token_id": None,
            "eos_token_id": token_id("<|im_end|>"),
            "pad_token_id": token_id("<|endoftext|>"),
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "embed_dim": 96,
            "num_heads": 4,
            "hidden_size": 128,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "initializer_range": _INITIAL_STD,
        },
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    config.initializer_range = _INITIAL_STD
    return Qwen2VLForConditionalGeneration(config)


def build_processor() -> Any:
    """The stock processor class over the world's tokenizer."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = build_tokenizer()
    pictures = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": MAX_PIXELS})
    return image_only("Qwen2VLProcessor")(
        image_processor=pictures, tokenizer=tokenizer, chat_template=tokenizer.chat_template
    )


def save(model: Any, processor: Any, folder: Path) -> None:
    """Writes a checkpoint in half precision that stock transformers, vLLM and KServe load."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    save_processor(processor, folder)
    interface = Interface(box_step=COORDINATE_STEP, max_pixels=MAX_PIXELS, max_new_tokens=64)
    write_interface(folder, interface)
