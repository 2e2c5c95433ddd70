"""A pool of drawn scenes whose patches, and later features, are computed once and looked at many times."""

from __future__ import annotations

import random
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from deepperception.bestiary.scenes import Scene, draw_scene

_CHUNK = 500
_PATCH = (3, 2, 14 * 14)  # channels, frames, pixels
_GRID = [1, 8, 8]
_TOKENS = 16


class ScenePool:
    """Scenes with the patches that the image processor makes of them."""

    def __init__(self, scenes: int, rng: random.Random, image_processor: Any) -> None:
        self.scenes = [draw_scene(rng, number) for number in range(scenes)]
        self.image_processor = image_processor
        self.half_patches = torch.cat([self._half_patches(chunk) for chunk in self._chunks()])
        self.features: torch.Tensor | None = None

    def pixels(self, scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
        """`pixel_values` and `image_grid_thw` of scenes, of this pool or not."""
        grid = torch.tensor([_GRID] * len(scenes))
        if any(scene.number < 0 for scene in scenes):
            batch = self.image_processor([scene.picture for scene in scenes], return_tensors="pt")
            return batch["pixel_values"], batch["image_grid_thw"]
        numbers = [scene.number for scene in scenes]
        if self.features is not None:
            return self.features[numbers].flatten(0, 1), grid
        half = self.half_patches[numbers].float()
        frames = half.unsqueeze(3).expand(-1, -1, -1, _PATCH[1], -1)
        return frames.reshape(-1, _PATCH[0] * _PATCH[1] * _PATCH[2]), grid

    def remember_features(self, model: Any) -> None:
        """Computes all features once, for training on a frozen vision tower: `pixels` then gives features instead."""
        inner = model.model
        with torch.no_grad():
            chunks = [inner.get_image_features(*self.pixels(chunk)).pooler_output for chunk in self._chunks()]
        self.features = torch.cat([torch.stack(chunk) for chunk in chunks])
        width = self.features.shape[-1]

        def get_image_features(pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, **options: Any) -> Any:
            if pixel_values.shape[-1] != width:
                return type(inner).get_image_features(inner, pixel_values, image_grid_thw, **options)
            remembered: Any = list(pixel_values.split(_TOKENS))
            return BaseModelOutputWithPooling(pooler_output=remembered)

        inner.get_image_features = get_image_features

    def forget_features(self, model: Any) -> None:
        """Back to pixels, so that the vision tower learns again."""
        self.features = None
        del model.model.get_image_features

    def _chunks(self) -> list[list[Scene]]:
        return [self.scenes[start : start + _CHUNK] for start in range(0, len(self.scenes), _CHUNK)]

    def _half_patches(self, scenes: list[Scene]) -> torch.Tensor:
        # A still picture's two frames are equal: keeping one of them halves the memory.
        pixels = self.image_processor([scene.picture for scene in scenes], return_tensors="pt")["pixel_values"]
        return pixels.view(len(scenes), -1, *_PATCH)[:, :, :, 0].half()
