"""Whether one picture holds another, or a part of it: by local features that agree on one place.

SIFT finds corners and describes their surroundings so that resizing and recompression change little. Two pictures that
share a part have many corners that look the same and agree on where the part lies; two pictures of like things do not.
That finds copies, crops and composed pictures alike. A picture too plain for corners is compared as a whole, by its
greys in small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

_SIDE, _CORNERS = 512, 500
"""Longest side, in pixels, of what corners are looked for in, and the most of them that are kept."""
_STRONGEST, _SHORT, _CHUNK = 250, 32, 65_536
"""To find suspects: corners of a picture, numbers that stand for a corner's 128, corners compared with at a time."""
_SUSPECTS = 16
_RATIO = 0.8
"""A corner's best match counts where its second best is this much worse (Lowe, 2004)."""
_MIN_AGREEING, _MIN_SHARE = 10, 0.2
_MAPS_TRIED, _LEAST_APART_PX, _NEAR_PX = 1500, 12, 4.0
_SCALES, _MOST_TURN = (0.1, 10.0), np.radians(8)
_SMALL_SIDE, _MIN_CORRELATION = 24, 0.98
_PLAIN_CORNERS = 20


@dataclass(frozen=True, slots=True)
class Look:
    """What is remembered of a picture, strongest corners first.

    `points` [N, 2] in pixels at `_SIDE`, `descriptions` [N, 128] of length 1, in half precision; `small` the picture in
    `_SMALL_SIDE` x `_SMALL_SIDE` greys, flat, less their mean, of length 1 (0 where all are one grey).
    """

    name: str
    points: np.ndarray
    descriptions: np.ndarray
    small: np.ndarray

    @property
    def is_plain(self) -> bool:
        return len(self.points) < _PLAIN_CORNERS


def glance(name: str, picture: Image.Image) -> Look:
    """Remember a picture as a whole alone."""
    size = (_SMALL_SIDE, _SMALL_SIDE)
    greys = np.asarray(picture.convert("L").resize(size, Image.Resampling.BOX, reducing_gap=3.0), np.float32).ravel()
    greys -= greys.mean()
    return Look(
        name,
        np.zeros((0, 2), np.float32),
        np.zeros((0, 128), np.float16),
        greys / max(float(np.linalg.norm(greys)), 1.0),
    )


def look(name: str, picture: Image.Image) -> Look:
    """Remember an upright picture of any mode, and its parts."""
    import cv2

    cv2.setNumThreads(1)  # whoever compares many pictures has a thread for each core already
    grey = picture.convert("L")
    scale = _SIDE / max(grey.size)
    size = (max(16, round(grey.width * scale)), max(16, round(grey.height * scale)))
    pixels = np.asarray(grey.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))
    corners, found = cv2.SIFT.create(nfeatures=_CORNERS, contrastThreshold=0.03).detectAndCompute(pixels, None)
    descriptions = np.zeros((0, 128), np.float32) if found is None else np.asarray(found, np.float32)
    order = np.argsort([-corner.response for corner in corners], kind="stable")[:_CORNERS]
    points = np.array([corner.pt for corner in corners], np.float32).reshape(-1, 2)[order]
    # The square root of shares, so that a few large gradients do not decide (Arandjelovic and Zisserman, 2012).
    shares = descriptions[order] / np.maximum(descriptions[order].sum(axis=1, keepdims=True), 1e-6)
    return replace(glance(name, grey), points=points, descriptions=np.sqrt(shares).astype(np.float16))


class Looks:
    """Pictures to look for in others. Asking is safe from several threads."""

    def __init__(self, looks: Sequence[Look]) -> None:
        self.looks = list(looks)
        self._owner = np.repeat(np.arange(len(self.looks)), [len(each.points[:_STRONGEST]) for each in self.looks])
        every = [each.descriptions[:_STRONGEST] for each in self.looks] or [np.zeros((0, 128), np.float16)]
        first = np.concatenate([part[:64] for part in every]).astype(np.float32)
        self._centre = first.sum(axis=0) / max(len(first), 1)
        mixed = np.random.default_rng(0).normal(size=(128, _SHORT))
        self._short = np.linalg.qr(mixed)[0].astype(np.float32)
        self._corners = np.concatenate([self._shortened(part) for part in every])
        self._smalls = np.array([each.small for each in self.looks], np.float32).reshape(-1, _SMALL_SIDE**2)
        self._plain = np.array([each.is_plain for each in self.looks], bool)

    def shared_with(self, other: Look) -> list[str]:
        """Names of the pictures that share a part with `other`, in the order that they were given in."""
        names = [self.looks[number].name for number in self._suspects(other) if alike(self.looks[number], other)]
        return list(dict.fromkeys(names))

    def _shortened(self, descriptions: np.ndarray) -> np.ndarray:
        return (descriptions.astype(np.float32) - self._centre) @ self._short

    def _suspects(self, other: Look) -> list[int]:
        """The pictures with most corners nearest to the other's, and, if either is plain, all that look the same."""
        asked = self._shortened(other.descriptions[:_STRONGEST])
        best, nearest = np.full(len(asked), np.inf, np.float32), np.zeros(len(asked), np.int64)
        for start in range(0, len(self._corners), _CHUNK):
            part = self._corners[start : start + _CHUNK]
            distance = (part * part).sum(axis=1) - 2 * (asked @ part.T)
            closest = distance.argmin(axis=1)
            value = distance[np.arange(len(asked)), closest]
            nearest = np.where(value < best, start + closest, nearest)
            best = np.minimum(value, best)
        votes = np.bincount(self._owner[nearest] if len(asked) else [], minlength=len(self.looks))
        voted = [int(number) for number in np.argsort(-votes, kind="stable")[:_SUSPECTS] if votes[number] >= 2]
        near = self._smalls @ other.small >= _MIN_CORRELATION
        plain = np.flatnonzero(near & (self._plain | other.is_plain))
        return sorted({*voted, *plain.tolist()})


def alike(one: Look, other: Look) -> bool:
    """Whether two pictures share a part."""
    if one.is_plain or other.is_plain:
        return float(one.small @ other.small) >= _MIN_CORRELATION
    return agreeing(one, other) > 0


def agreeing(one: Look, other: Look) -> int:
    """How many places of the one lie in the other as a single similarity maps them; 0: too few to mean it.

    Of maps that two matches each decide, the one that most others agree with (RANSAC). Points are complex numbers, so
    that a similarity is z -> turn * z + shift. Maps that turn a picture much, or resize it out of all measure, are
    chance.
    """
    here, there = _matches(one, other)
    if len(here) < _MIN_AGREEING:
        return 0
    first, second = np.random.default_rng(0).integers(len(here), size=(2, _MAPS_TRIED))
    apart = np.abs(here[first] - here[second]) > _LEAST_APART_PX
    first, second = first[apart], second[apart]
    turn = (there[first] - there[second]) / (here[first] - here[second])
    sober = (np.abs(turn) >= _SCALES[0]) & (np.abs(turn) <= _SCALES[1]) & (np.abs(np.angle(turn)) <= _MOST_TURN)
    turn, shift = turn[sober], (there[first] - turn * here[first])[sober]
    if not len(turn):
        return 0
    # In pixels of the larger view, so that a part that fills the other picture is held to no stricter a measure.
    error = np.abs(turn[:, None] * here + shift[:, None] - there) / np.maximum(np.abs(turn), 1)[:, None]
    agreed = error < _NEAR_PX
    best = agreed[agreed.sum(axis=1).argmax()]
    # Several corners of one spot are one witness, on either side.
    count = min(_places(here[best]), _places(there[best]))
    return count if count >= max(_MIN_AGREEING, _MIN_SHARE * len(here)) else 0


def _matches(one: Look, other: Look) -> tuple[np.ndarray, np.ndarray]:
    """Where corners lie that look the same, in either picture: complex numbers [N]."""
    if len(one.points) < 2 or len(other.points) < 2:
        return np.zeros(0, complex), np.zeros(0, complex)
    similarity = one.descriptions.astype(np.float32) @ other.descriptions.astype(np.float32).T
    second, first = np.argpartition(similarity, -2, axis=1)[:, -2:].T
    rows = np.arange(len(similarity))
    swapped = similarity[rows, first] < similarity[rows, second]
    first, second = np.where(swapped, second, first), np.where(swapped, first, second)
    near, next_near = (np.sqrt(np.maximum(2 - 2 * similarity[rows, place], 0)) for place in (first, second))
    kept = near < _RATIO * next_near
    here, there = one.points[kept], other.points[first[kept]]
    return here[:, 0] + 1j * here[:, 1], there[:, 0] + 1j * there[:, 1]


def _places(points: np.ndarray) -> int:
    return len(np.unique(np.round(points / 4)))
