"""How many planted copies the leakage check finds, and whether it takes anything else for a copy."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

GOAL = 0.95
PICTURES = 40
SHARED = Path(os.environ.get("DEEPPERCEPTION_SHARED", Path(__file__).parents[2] / "shared")) / "photos"


class Planted:
    """Measured like a pair: `ours` is the copies found, `peer` those planted, `ratio` the recall."""

    def measure(self) -> dict[str, Any]:
        """One line of bench.json. `holds` also asks that nothing but copies is found (`precision` 1)."""
        from deepperception.synthesis.likeness import Looks, look

        sys.path.append(str(Path(__file__).parents[1] / "tests"))
        from synthesis.copies import WAYS

        kind, pictures = _pictures()
        planted, others = pictures[: PICTURES // 2], pictures[PICTURES // 2 :]
        looks = Looks([look(str(number), picture) for number, picture in enumerate(planted)])
        by_way: dict[str, int] = {}
        wrong = 0
        for way, change in WAYS.items():
            rng = Random(way)
            found = [looks.shared_with(look("copy", change(picture, others, rng))) for picture in planted]
            by_way[way] = sum(str(number) in names for number, names in enumerate(found))
            wrong += sum(name != str(number) for number, names in enumerate(found) for name in names)
        wrong += sum(len(looks.shared_with(look("other", picture))) for picture in others)
        right, total = sum(by_way.values()), len(WAYS) * len(planted)
        precision = right / max(right + wrong, 1)
        return {
            "name": "leakage_found_vs_planted",
            "ours": right,
            "peer": total,
            "ratio": right / total,
            "goal": GOAL,
            "holds": right / total >= GOAL and wrong == 0,
            "precision": precision,
            "by_way": by_way,
            "told": f"{right} of {total} copies of {kind} found, {wrong} others too: precision {precision:.3f}",
        }


def pair() -> Planted:
    """Real photos where they are at hand, drawn pictures otherwise."""
    return Planted()


def _pictures() -> tuple[str, Sequence[Image.Image]]:
    from synthesis.copies import drawn_scene

    from deepperception.inference.images import open_image

    files = sorted(SHARED.glob("*/images/*.jpg"))
    if len(files) < 2 * PICTURES:
        return "drawn pictures", [drawn_scene(seed) for seed in range(PICTURES)]
    # Not neighbours in a film, which may well show one scene.
    return "photos", [open_image(file) for file in files[3 :: len(files) // PICTURES][:PICTURES]]
