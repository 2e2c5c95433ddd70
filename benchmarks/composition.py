"""Composing pictures, against the JPEG work that cannot be done without: reading the photos, writing the pictures."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from PIL import Image

from benchmarks.pairs import Pair

ROWS = 48
GOAL = 0.80
ENTITIES, PHOTOS_EACH, PHOTO_SIZE = 8, 5, (1021, 767)


def pair() -> Pair:
    """Rows of the default settings made from JPEG photos of a camera's grain; all cores, both ways.

    The peer decodes the photos of the same rows at their full size and encodes pictures of the same sizes and content.
    Both return how many bytes they wrote.
    """
    from deepperception.synthesis.rows import cores

    maker = _maker()
    jobs = [_job(maker, index) for index in range(ROWS)]

    def ours() -> int:
        with ThreadPoolExecutor(cores()) as threads:
            return sum(threads.map(lambda index: len(maker.row("sft", index).sample.image), range(ROWS)))

    def limit() -> int:
        with ThreadPoolExecutor(cores()) as threads:
            return sum(threads.map(_decode_and_encode, jobs))

    return Pair("composition_vs_jpeg_limit", ours, limit, GOAL)


def _job(maker, index):  # type: ignore[no-untyped-def]
    """The photo files of a row, and its picture before it is encoded."""
    row = maker.row("sft", index)
    picture = Image.open(io.BytesIO(row.sample.image)).convert("RGB")
    return [_files()[source.id] for source in row.sample.sources], picture, len(row.sample.image)


def _decode_and_encode(job):  # type: ignore[no-untyped-def]
    files, picture, length = job
    for content in files:
        Image.open(io.BytesIO(content)).load()
    picture.save(io.BytesIO(), "JPEG", quality=92)
    return length


@cache
def _files() -> dict[str, bytes]:
    """JPEG files by photo id: blurred grain, of about a photo's bytes per pixel."""
    files = {}
    for entity in range(ENTITIES):
        for number in range(PHOTOS_EACH):
            rng = np.random.default_rng(100 * entity + number)
            coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            smooth = np.asarray(Image.fromarray(coarse).resize(PHOTO_SIZE, Image.Resampling.BICUBIC), np.float32)
            grainy = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(grainy).save(buffer, "JPEG", quality=88)
            files[f"{entity}/{number}"] = buffer.getvalue()
    return files


def _maker():  # type: ignore[no-untyped-def]
    from deepperception.inference.images import open_image, open_reduced
    from deepperception.synthesis.config import SynthesisConfig
    from deepperception.synthesis.pools import deal
    from deepperception.synthesis.rows import RowMaker
    from deepperception.synthesis.sources import Photo

    def photo(identity: str, content: bytes) -> Photo:
        width, height = PHOTO_SIZE
        box = (width / 8, height / 8, width / 2, height / 2)
        entity = f"thing {identity.split('/')[0]}"
        return Photo(
            identity, "thing", entity, box, PHOTO_SIZE, "CC0-1.0",
            load=lambda: open_image(content), load_reduced=lambda least: open_reduced(content, least),
        )  # fmt: skip

    photos = [photo(identity, content) for identity, content in _files().items()]
    config = SynthesisConfig()
    pools, _ = deal(photos, config, seed=0)
    return RowMaker(config, pools, seed=0)
