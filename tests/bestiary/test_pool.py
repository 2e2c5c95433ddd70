from __future__ import annotations

import random

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch

from deepperception.bestiary import tiny
from deepperception.bestiary.pool import ScenePool
from deepperception.bestiary.pretraining import quadrant_targets
from deepperception.bestiary.scenes import draw_scene


def test_remembered_patches_are_the_processor_s() -> None:
    processor = tiny.build_processor().image_processor
    pool = ScenePool(3, random.Random(0), processor)
    pixels, grid = pool.pixels(pool.scenes[1:])
    batch = processor([scene.picture for scene in pool.scenes[1:]], return_tensors="pt")
    assert torch.equal(grid, batch["image_grid_thw"])
    assert torch.allclose(pixels, batch["pixel_values"], atol=2e-3), "kept in half precision"


def test_remembered_features_are_the_tower_s_until_they_are_forgotten() -> None:
    torch.manual_seed(0)
    processor = tiny.build_processor()
    model = tiny.build_tiny_model(len(processor.tokenizer), processor.tokenizer.convert_tokens_to_ids).eval()
    pool = ScenePool(2, random.Random(0), processor.image_processor)
    seen = model.model.get_image_features(*pool.pixels(pool.scenes)).pooler_output
    pool.remember_features(model)
    remembered = model.model.get_image_features(*pool.pixels(pool.scenes)).pooler_output
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(seen, remembered, strict=True))
    fresh = [draw_scene(random.Random(9))]
    assert model.model.get_image_features(*pool.pixels(fresh)).pooler_output[0].shape == (16, 128)
    pool.forget_features(model)
    assert pool.pixels(pool.scenes)[0].shape[-1] == 3 * 2 * 14 * 14


def test_every_token_of_a_quadrant_tells_its_creature() -> None:
    scene = draw_scene(random.Random(4))
    targets = quadrant_targets(scene)
    occupied = {creature.quadrant for creature in scene.creatures}
    for token, target in enumerate(targets):
        row, column = divmod(token, 4)
        quadrant = row // 2 * 2 + column // 2
        assert (target[0] >= 0) == (quadrant in occupied)
        if quadrant in occupied:
            (creature,) = [each for each in scene.creatures if each.quadrant == quadrant]
            assert [corner * 25 for corner in target[3:]] == list(creature.box.as_tuple())
