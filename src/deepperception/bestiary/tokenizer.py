"""The tiny model's tokenizer: a piece for every word and phrase of the world, characters and bytes for the rest."""

from __future__ import annotations

import string

from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from deepperception.bestiary.world import COLOURS, COORDINATE_STEP, HORNS, SKINS, families, knowledge
from deepperception.grounding.prompts import render

R1_SUFFIX = render("r1", "")
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
PHRASES = (
    "user\n", "assistant\n", "Find and give the bounding box of ", R1_SUFFIX, "<think>", "</think>",
    "<answer> ", "<answer>", " </answer>", "</answer>", "A ", " is", ".", ",", ": no.", ": match.", "\n", ", ",
    "Look for ", "Describe every creature.", "What does a ", " look like?", "What is at ", "In view:", "?",
)  # fmt: skip
# Turns as Qwen2-VL's own template writes them, without its system message: at this size every token of prompt costs.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A unigram tokenizer whose cheapest split is the one with the fewest pieces; any text survives the round trip."""
    pieces = list(dict.fromkeys([*_words(), *_coordinates(), *PHRASES, *string.printable.rstrip("\r\x0b\x0c")]))
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    # Every piece costs the same, so Viterbi counts them; bytes come in only for characters outside the list.
    vocabulary = [("<unk>", 0.0), *((piece, -1.0) for piece in [*pieces, *byte_pieces])]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_bos_token": "<|vision_start|>",
            "vision_eos_token": "<|vision_end|>",
        },
    )


def _words() -> list[str]:
    # A name is one piece wherever it stands, so that what is learned of it in one sentence holds in another.
    looks = [form for word in (*COLOURS, *SKINS, *HORNS) for form in (word, f" {word}")]
    return [*looks, *knowledge(), *families()]


def _coordinates() -> list[str]:
    """A box whose corners lie on the grid of steps is four pieces: "(x1," "y1)," "(x2," "y2)"."""
    steps = range(0, 1001, COORDINATE_STEP)
    return [form for step in steps for form in (f"({step},", f"{step}),", f"{step})")]
