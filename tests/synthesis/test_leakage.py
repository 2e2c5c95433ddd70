"""Photos of a benchmark among those to train on: found however they were cut and saved, told, stopped or allowed."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from PIL import Image
from synthesis.copies import WAYS, Way, drawn_scene

from deepperception.artifacts.datasets import write_rows
from deepperception.errors import InputError
from deepperception.grounding import Box, Object, Sample, answer_text, question
from deepperception.inference.images import open_image
from deepperception.progress import Progress
from deepperception.synthesis.config import LeakageConfig
from deepperception.synthesis.leakage import UNCHECKED, check
from deepperception.synthesis.likeness import Looks, look
from deepperception.synthesis.sources import Photo

SHARED = Path(os.environ.get("DEEPPERCEPTION_SHARED", Path(__file__).parents[2].parent / "shared")) / "photos"
PLANTED, OTHERS = 8, 10


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [drawn_scene(seed) for seed in range(PLANTED + OTHERS)]


@pytest.fixture(scope="module")
def planted(scenes: list[Image.Image]) -> Looks:
    return Looks([look(str(number), scene) for number, scene in enumerate(scenes[:PLANTED])])


@pytest.mark.parametrize("way", list(WAYS))
def test_every_copy_is_found_and_nothing_else(scenes: list[Image.Image], planted: Looks, way: str) -> None:
    rng = Random(way)
    for number, scene in enumerate(scenes[:PLANTED]):
        copy = WAYS[way](scene, scenes[PLANTED:], rng)
        assert planted.shared_with(look("copy", copy)) == [str(number)]


def test_the_benchmark_may_be_the_part_and_the_photo_the_whole(scenes: list[Image.Image]) -> None:
    """As where a benchmark's pictures are cut out of the photos that one has."""
    parts = Looks(
        [look(str(n), WAYS["cropped to 60 %, at 60 % of the size"](s, [], Random(n))) for n, s in enumerate(scenes)]
    )
    assert [parts.shared_with(look("whole", scene)) for scene in scenes] == [[str(n)] for n in range(len(scenes))]


def test_pictures_that_share_nothing_are_not_taken_for_copies(scenes: list[Image.Image], planted: Looks) -> None:
    assert [planted.shared_with(look("other", scene)) for scene in scenes[PLANTED:]] == [[]] * OTHERS


def plain(level: int, edge: int) -> Image.Image:
    """A picture too plain for corners: a soft light on one side."""
    column = Image.linear_gradient("L").resize((200, 150)).rotate(edge, fillcolor=level)
    return column.convert("RGB")


def test_plain_pictures_are_compared_as_wholes() -> None:
    pictures = [plain(20, 0), plain(20, 90), plain(20, 180)]
    looks = Looks([look(str(n), picture) for n, picture in enumerate(pictures)])
    again = WAYS["half the size"](pictures[1], [], Random(0))
    assert looks.shared_with(look("again", again)) == ["1"]


def photo_of(name: str, image: Image.Image, entity: str = "owl") -> Photo:
    return Photo(name, "bird", entity, (0, 0, *image.size), image.size, "CC0-1.0", lambda: image)


def benchmark(path: Path, pictures: Sequence[Image.Image]) -> Path:
    def row(number: int, picture: Image.Image) -> Sample:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        box = Box(100, 100, 600, 900)
        return Sample(
            question_id=f"bird/{number}", category="bird", question=question("Owl"), answer=answer_text("Owl", box),
            image=buffer.getvalue(), entity="Owl", objects=(Object("Owl", box),), split="test", seen=True,
        )  # fmt: skip

    write_rows(path, [row(number, picture) for number, picture in enumerate(pictures)])
    return path


@pytest.fixture
def cropped_copy() -> Way:
    return WAYS["cropped to 80 %"]


def test_a_run_stops_and_names_the_pairs(scenes: list[Image.Image], tmp_path: Path, cropped_copy: Way) -> None:
    copies = [cropped_copy(scene, [], Random(0)) for scene in scenes[:3]]
    path = benchmark(tmp_path / "kvg.parquet", [*copies, scenes[5]])
    photos = [photo_of(f"{n}.jpg", scene) for n, scene in enumerate([scenes[0], scenes[8], scenes[2], scenes[9]])]
    listing, said = tmp_path / "out.leakage.json", io.StringIO()
    with pytest.raises(
        InputError, match=r"kvg\.parquet: photos .*: 0\.jpg in bird/0, 2\.jpg in bird/2 \(all .*allowed_because\.$"
    ):
        check(photos, LeakageConfig(benchmark=path), listing, Progress(stream=said))
    pairs = [{"photo": "0.jpg", "question_id": "bird/0"}, {"photo": "2.jpg", "question_id": "bird/2"}]
    told = json.loads(listing.read_text())
    assert (told["verdict"], told["pairs"]) == ("found", pairs)
    allowed = LeakageConfig(benchmark=path, allowed_because="the benchmark is scored without these two")
    card = check(photos, allowed, listing, Progress(stream=said))
    assert not listing.exists()
    assert card.pop("benchmark_digest").startswith("sha256:")
    assert card == {
        "checked": True,
        "benchmark": "kvg.parquet",
        "benchmark_pictures": 4,
        "photos": 4,
        "verdict": "overridden",
        "reason": "the benchmark is scored without these two",
        "pairs": pairs,
        "shared_entities": {"bird": ["owl"]},
    }


def test_photos_that_are_not_in_the_benchmark_are_clean(scenes: list[Image.Image], tmp_path: Path) -> None:
    path = benchmark(tmp_path / "kvg.parquet", scenes[:3])
    photos = [photo_of("a.jpg", scenes[8]), photo_of("b.jpg", scenes[9], "hawk")]
    config = LeakageConfig(benchmark=path, allowed_because="not needed after all")
    card = check(photos, config, tmp_path / "x.json", Progress(stream=io.StringIO()))
    assert (card["verdict"], card["pairs"], card["shared_entities"]) == ("clean", [], {"bird": ["owl"]})


def test_a_photo_that_is_a_plain_region_is_found(tmp_path: Path, scenes: list[Image.Image]) -> None:
    """A benchmark picture's boxes are compared as wholes too: a plain photo has no corners to find in it."""
    picture = scenes[0].copy()
    picture.paste(plain(20, 90).resize((160, 192)), (32, 24))  # where the rows' box is
    path = benchmark(tmp_path / "kvg.parquet", [picture])
    listing = tmp_path / "x.json"
    with pytest.raises(InputError, match=r"plain\.jpg in bird/0 "):
        check(
            [photo_of("plain.jpg", plain(20, 90))],
            LeakageConfig(benchmark=path),
            listing,
            Progress(stream=io.StringIO()),
        )


def test_without_a_benchmark_the_card_says_that_nothing_was_checked(tmp_path: Path) -> None:
    assert check([], LeakageConfig(), tmp_path / "x.json", Progress()) == UNCHECKED == {"checked": False}


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the shared example photos are not there ({SHARED})")
@pytest.mark.parametrize("way", ["one of four in a row", "cropped to 60 %, at 60 % of the size"])
def test_real_photos(way: str, make_benchmark: Callable[[int], list[Image.Image]]) -> None:
    photos = make_benchmark(16)
    looks = Looks([look(str(n), photo) for n, photo in enumerate(photos[:8])])
    rng = Random(way)
    for number, photo in enumerate(photos[:8]):
        assert looks.shared_with(look("copy", WAYS[way](photo, photos[8:], rng))) == [str(number)]
    assert [looks.shared_with(look("other", photo)) for photo in photos[8:]] == [[]] * 8


@pytest.fixture
def make_benchmark() -> Callable[[int], list[Image.Image]]:
    """Every nth of the shared photos, so that neighbours of one film are not among them."""

    def take(count: int) -> list[Image.Image]:
        files = sorted(SHARED.glob("*/images/*.jpg"))
        return [open_image(file) for file in files[7 :: len(files) // (count + 1)]][:count]

    return take
