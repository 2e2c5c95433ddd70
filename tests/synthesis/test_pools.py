"""Dealing photos to splits, and drawing rows from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from deepperception.errors import InputError
from deepperception.synthesis.config import SynthesisConfig
from deepperception.synthesis.pools import SPLITS, TOO_FEW, Pool, deal
from deepperception.synthesis.sources import Photo

MakePhoto = Callable[..., Photo]


def world(make_photo: MakePhoto, photos_each: int = 10, **entities_of: int) -> list[Photo]:
    return [
        make_photo(f"{category}/{entity}/{number}", category=category, entity=f"{category} {entity}")
        for category, entities in entities_of.items()
        for entity in range(entities)
        for number in range(photos_each)
    ]


def config(**settings: object) -> SynthesisConfig:
    return SynthesisConfig.model_validate(settings)


def ids(pool: Pool) -> set[str]:
    return {
        photo.id
        for side in (pool.seen, pool.unseen)
        for shelf in side.values()
        for photos in shelf.values()
        for photo in photos
    }


def test_every_photo_is_in_one_split_in_the_settings_shares(make_photo: MakePhoto) -> None:
    photos = world(make_photo, owl=3, fern=4)
    pools, left_over = deal(photos, config(), seed=0)
    parts = [ids(pools[split]) for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(photos)
    assert [len(part) for part in parts] == [7 * 6, 7 * 2, 7 * 2]
    assert left_over.as_dict() == {}


def test_unseen_categories_have_no_part_in_training(make_photo: MakePhoto) -> None:
    pools, _ = deal(world(make_photo, owl=3, fern=3), config(seen=["owl"]), seed=0)
    assert (set(pools["train"].seen), set(pools["train"].unseen)) == ({"owl"}, set())
    for split in ("validation", "test"):
        assert (set(pools[split].seen), set(pools[split].unseen)) == ({"owl"}, {"fern"})
    halves = [ids(pools[split]) for split in ("validation", "test")]
    assert [sum(name.startswith("fern") for name in half) for half in halves] == [15, 15]


@pytest.mark.parametrize("photos_each", range(3, 12))
def test_no_split_goes_without_a_photo_of_any_entity(make_photo: MakePhoto, photos_each: int) -> None:
    pools, _ = deal(world(make_photo, photos_each, owl=2), config(), seed=3)
    for split in SPLITS:
        assert all(pools[split].seen["owl"].values()), split
    assert sum(pools[split].photo_count() for split in SPLITS) == 2 * photos_each


def test_the_deal_depends_on_seed_and_names_and_not_on_order(make_photo: MakePhoto) -> None:
    photos = world(make_photo, owl=2)
    first, _ = deal(photos, config(), seed=0)
    again, _ = deal(photos[::-1], config(), seed=0)
    other, _ = deal(photos, config(), seed=1)
    assert ids(first["test"]) == ids(again["test"]) != ids(other["test"])


def test_entities_with_too_few_photos_are_left_out_and_counted(make_photo: MakePhoto) -> None:
    rare = [make_photo(f"owl/rare/{number}", category="owl", entity="rare") for number in range(2)]
    pools, left_over = deal(world(make_photo, owl=2) + rare, config(), seed=0)
    assert "rare" not in pools["train"].seen["owl"]
    assert left_over.as_dict() == {TOO_FEW: {"count": 2, "examples": ["owl/rare/0", "owl/rare/1"]}}


@pytest.mark.parametrize(
    "entities_of, photos_each, settings, says",
    [
        ({}, 3, {}, "there is no photo left to compose"),
        ({"owl": 1}, 9, {}, "'owl' has a single entity, 'owl 0', with photos enough"),
        ({"owl": 3}, 2, {}, "'owl' has no entity with photos enough"),
        ({"owl": 3}, 9, {"seen": ["ovl"]}, r"synthesis\.seen: there is no category 'ovl' .* did you mean 'owl'\?"),
        ({"owl": 3}, 9, {"seen": ["zzz"]}, "there are: owl"),
        ({"owl": 3, "elk": 5}, 9, {"candidates": {4: 1, 2: 0}}, "at least 4 entities and the category 'owl' has 3"),
    ],
)
def test_what_cannot_be_composed_is_named(
    make_photo: MakePhoto, entities_of: dict[str, int], photos_each: int, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        deal(world(make_photo, photos_each, **entities_of), config(**settings), seed=0)


def draws(pool: Pool, count: int) -> list[tuple[str, int, str]]:
    found = [pool.draw(index, Random(index)) for index in range(count)]
    for draw in found:
        assert len({photo.entity for photo in draw.photos}) == len(draw.photos), "all different entities"
        assert {photo.category for photo in draw.photos} == {draw.category}
        assert 0 <= draw.target < len(draw.photos)
    return [(draw.category, len(draw.photos), draw.layout) for draw in found]


def test_rows_take_turns_between_seen_and_unseen_and_among_categories(make_photo: MakePhoto) -> None:
    photos = world(make_photo, owl=3, elk=3, fern=3)
    pools, _ = deal(photos, config(seen=["owl", "elk"]), seed=0)
    assert [category for category, _, _ in draws(pools["test"], 6)] == ["elk", "fern", "owl", "fern", "elk", "fern"]
    assert [category for category, _, _ in draws(pools["train"], 4)] == ["elk", "owl", "elk", "owl"]


def test_numbers_and_layouts_follow_their_weights(make_photo: MakePhoto) -> None:
    settings = {"candidates": {2: 3, 4: 1, 6: 9}, "layouts": {"grid": 1, "free": 3, "stacked": 0}}
    pools, _ = deal(world(make_photo, owl=5), config(**settings), seed=0)
    found = draws(pools["train"], 800)
    numbers = Counter(number for _, number, _ in found)
    layouts = Counter(layout for _, _, layout in found)
    assert set(numbers) == {2, 4}, "five entities cannot fill a picture of six"
    assert 0.7 < numbers[2] / 800 < 0.8
    assert set(layouts) == {"grid", "free"}
    assert 0.7 < layouts["free"] / 800 < 0.8


def test_every_place_is_the_target_as_often(make_photo: MakePhoto) -> None:
    pools, _ = deal(world(make_photo, owl=4), config(candidates={4: 1}), seed=0)
    targets = Counter(pools["train"].draw(index, Random(index)).target for index in range(1000))
    assert all(200 < targets[place] < 300 for place in range(4))
