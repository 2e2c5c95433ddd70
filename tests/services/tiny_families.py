"""Tiny models of the families that the group trainer knows, with random weights."""

from __future__ import annotations

from typing import Any

from deepperception.bestiary import tiny
from deepperception.bestiary.tokenizer import build_tokenizer
from deepperception.inference.processor import image_only


def build(family: str) -> tuple[Any, Any]:
    """(model, processor) of 'qwen2_vl' or 'qwen3_vl', in fp32."""
    import torch

    torch.manual_seed(0)
    if family == "qwen2_vl":
        processor = tiny.build_processor()
        return tiny.build_tiny_model(len(processor.tokenizer), processor.tokenizer.convert_tokens_to_ids), processor
    return _qwen3_vl()


def _qwen3_vl() -> tuple[Any, Any]:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = build_tokenizer()
    pictures = Qwen2VLImageProcessorPil(size={"shortest_edge": 1024, "longest_edge": 16_384}, patch_size=16)
    processor = image_only("Qwen3VLProcessor")(
        image_processor=pictures, tokenizer=tokenizer, chat_template=tokenizer.chat_template
    )
    id_of = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
            "initializer_range": 0.4,
            "eos_token_id": id_of("<|im_end|>"),
            "pad_token_id": id_of("<|endoftext|>"),
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 64,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": 0.1,
        },
        image_token_id=id_of("<|image_pad|>"),
        video_token_id=id_of("<|video_pad|>"),
        vision_start_token_id=id_of("<|vision_start|>"),
        vision_end_token_id=id_of("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return Qwen3VLForConditionalGeneration(config), processor
