"""Whether one picture holds another, or a part of it: by local features that agree on one place.

SIFT finds corners and describes their surroundings so that resizing and recompression change little. Two pictures that
share a part have many corners that look the same and agree on where the part lies; two pictures of like things do not.
That finds copies, crops and composed pictures alike. A picture too plain for corners is compared as a whole, by a
perceptual hash and then by its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

_SIDE, _CORNERS = 512, 500
"""Longest side, in pixels, of what corners are looked for in, and the most of them that are kept."""
_STRONGEST, _SHORT, _CHUNK = 150, 32, 65_536
"""To find suspects: corners asked for, numbers that stand for a corner's 128, corners compared with at a time."""
_SUSPECTS = 8
_RATIO = 0.8
"""A corner's best match counts where its second best is this much worse (Lowe, 2004)."""
_MIN_AGREEING, _MIN_SHARE = 10, 0.2
_REPROJECTION_PX = 4.0
_SCALES, _MOST_TURN_DEGREES = (0.1, 10.0), 8.0
_HASH_SIDE, _HASH_LOW, _HASH_BITS = 32, 8, 4
"""Size that a picture is hashed at, the frequencies kept on each side, and how many of 63 bits a copy may differ in."""
_MIN_CORRELATION = 0.97
_PLAIN_CORNERS = 20


@dataclass(frozen=True, slots=True)
class Look:
    """What is remembered of a picture, strongest corners first.

    `points` [N, 2] in pixels at `_SIDE`, `descriptions` [N, 128] of length 1, in half precision; `small` is the picture
    in `_HASH_SIDE` x `_HASH_SIDE` greys, `hash` the 63 bits of it.
    """

    name: str
    points: np.ndarray
    descriptions: np.ndarray
    small: np.ndarray
    hash: int

    @property
    def is_plain(self) -> bool:
        return len(self.points) < _PLAIN_CORNERS


def glance(name: str, picture: Image.Image) -> Look:
    """Remember a picture as a whole alone."""
    from scipy.fft import dctn

    size = (_HASH_SIDE, _HASH_SIDE)
    small = np.asarray(picture.convert("L").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
    # pHash: the signs of the low frequencies against their median.
    low = dctn(small.astype(np.float64))[:_HASH_LOW, :_HASH_LOW].ravel()[1:]
    bits = int("".join("1" if above else "0" for above in low > np.median(low)), 2)
    return Look(name, np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float16), small, bits)


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
        self._owner = np.repeat(np.arange(len(self.looks)), [len(each.points) for each in self.looks])
        every = [each.descriptions for each in self.looks] or [np.zeros((0, 128), np.float16)]
        self._centre = np.concatenate([part[:64] for part in every]).astype(np.float32).mean(axis=0)
        mixed = np.random.default_rng(0).normal(size=(128, _SHORT))
        self._short = np.linalg.qr(mixed)[0].astype(np.float32)
        self._corners = np.concatenate([self._shortened(part) for part in every])
        self._hashes = np.array([each.hash for each in self.looks], np.uint64)
        self._plain = np.array([each.is_plain for each in self.looks], bool)

    def shared_with(self, other: Look) -> list[str]:
        """Names of the pictures that share a part with `other`, in the order that they were given in."""
        names = [self.looks[number].name for number in self._suspects(other) if alike(self.looks[number], other)]
        return list(dict.fromkeys(names))

    def _shortened(self, descriptions: np.ndarray) -> np.ndarray:
        return (descriptions.astype(np.float32) - self._centre) @ self._short

    def _suspects(self, other: Look) -> list[int]:
        """The pictures with most corners nearest to the other's, and all that are as plain and hashed alike."""
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
        near = np.bitwise_count(self._hashes ^ np.uint64(other.hash)) <= _HASH_BITS
        plain = np.flatnonzero(near & (self._plain | other.is_plain))
        return sorted({*voted, *plain.tolist()})


def alike(one: Look, other: Look) -> bool:
    """Whether two pictures share a part."""
    if one.is_plain or other.is_plain:
        return (one.hash ^ other.hash).bit_count() <= _HASH_BITS and _correlation(one, other) >= _MIN_CORRELATION
    return agreeing(one, other) > 0


def agreeing(one: Look, other: Look) -> int:
    """How many places of the one lie in the other as a single scale and shift maps them; 0: too few to mean it."""
    import cv2

    here, there = _matches(one, other)
    if len(here) < _MIN_AGREEING:
        return 0
    matrix, inliers = cv2.estimateAffinePartial2D(
        here, there, ransacReprojThreshold=_REPROJECTION_PX, maxIters=1000, confidence=0.99
    )
    if matrix is None or not _is_sober(matrix):
        return 0
    agreed = inliers.ravel() == 1
    # Several corners of one spot are one witness, on either side.
    count = min(_places(here[agreed]), _places(there[agreed]))
    return count if count >= max(_MIN_AGREEING, _MIN_SHARE * len(here)) else 0


def _matches(one: Look, other: Look) -> tuple[np.ndarray, np.ndarray]:
    """Where corners lie that look the same, [N, 2] in either picture."""
    similarity = one.descriptions.astype(np.float32) @ other.descriptions.astype(np.float32).T
    second, first = np.argsort(similarity, axis=1)[:, -2:].T
    rows = np.arange(len(similarity))
    near, next_near = (np.sqrt(np.maximum(2 - 2 * similarity[rows, place], 0)) for place in (first, second))
    kept = near < _RATIO * next_near
    return one.points[kept], other.points[first[kept]]


def _is_sober(matrix: np.ndarray) -> bool:
    """A copy is hardly turned, nor resized out of all measure: other maps are chance."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    turn = abs(float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))))
    return _SCALES[0] <= scale <= _SCALES[1] and turn <= _MOST_TURN_DEGREES


def _places(points: np.ndarray) -> int:
    return len(np.unique(np.round(points / 4), axis=0)) if len(points) else 0


def _correlation(one: Look, other: Look) -> float:
    """Of the greys of two small pictures; two of one even grey are equal."""
    a, b = (each.small.astype(np.float64) - each.small.mean() for each in (one, other))
    length = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / length) if length > 0 else float(np.array_equal(a, b))
