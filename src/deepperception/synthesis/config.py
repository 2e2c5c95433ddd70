"""What synthesis makes, from what, and who explains it: the `synthesis` section of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from deepperception.settings import Settings

Layout = Literal["side_by_side", "stacked", "grid", "free"]
Channel = Annotated[int, Field(ge=0, le=255)]


class SourceConfig(Settings):
    """Where the photos of single entities come from."""

    kind: str = Field(default="folder", description="A name in the entry point group deepperception.sources.")
    path: Path | None = Field(default=None, description="The folder of photos, or the file that lists them.")
    category: str | None = Field(
        default=None,
        description="The one category of all photos, where PATH holds entity folders and no category folders.",
    )
    licence: str | None = Field(
        default=None, description="Licence of the photos; None reads the LICENSE file beside them."
    )
    boxed: bool = Field(default=True, description="False takes photos without a box too: enough for multiple choice.")
    skip_bad: bool = Field(default=False, description="Leave faulty photos out, counted, where False stops at them.")
    whole_image: bool = Field(
        default=False, description="A photo without a box shows one thing all over: the whole photo is its box."
    )
    options: dict[str, Any] = Field(default={}, description="Settings of the kind of source.")


class SplitShares(Settings):
    """Share of each entity's photos that a split may use; no photo is in two splits. The project's own choice."""

    train: PositiveFloat = 0.6
    validation: PositiveFloat = 0.2
    test: PositiveFloat = 0.2

    @model_validator(mode="after")
    def _whole(self) -> SplitShares:
        if abs(self.train + self.validation + self.test - 1.0) > 1e-6:
            raise ValueError("the three shares of photos must add up to 1")
        return self


class CanvasConfig(Settings):
    """The composed picture. Sizes in pixels."""

    max_side: int = Field(default=1344, ge=28, le=8192, description="Longest side, where photos are rescaled.")
    max_aspect: float = Field(
        default=10.0,
        ge=3,
        description="Longer side over shorter; rows and columns beyond it become grids. Rescaled only.",
    )
    rescale: bool = Field(
        default=True, description="False keeps each photo's own pixels, and the canvas grows as it must."
    )
    cell: PositiveInt | None = Field(
        default=None, description="Side of a grid's square cells; None: as max_side allows."
    )
    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        default=(0.7, 1.0), description="Random size of a photo in grid and free, as a share of the room it has."
    )
    background: tuple[Channel, Channel, Channel] = Field(
        default=(124, 116, 104), description="RGB where no photo lies."
    )
    encoding: Literal["jpeg", "png"] = "jpeg"
    quality: int = Field(default=92, ge=1, le=100, description="Of JPEG.")

    @model_validator(mode="after")
    def _ordered(self) -> CanvasConfig:
        if not self.scale[0] <= self.scale[1] <= 1.0:
            raise ValueError("scale must be two shares in ascending order, at most 1")
        return self


class FilterConfig(Settings):
    """When a teacher's reasoning is refused. The paper describes no automatic check; these are the project's."""

    target_iou: float = Field(
        default=0.5, ge=0, le=1, description="Least overlap of the concluded box and the target's."
    )
    max_characters: PositiveInt = Field(default=4000, description="Longer reasoning is refused.")
    min_kept: float = Field(
        default=0.25, gt=0, le=1, description="Stop where a smaller share of the reasoning is good."
    )


class TeacherConfig(Settings):
    """Who writes the reasoning."""

    kind: str = Field(default="rules", description="A name in the entry point group deepperception.teachers.")
    options: dict[str, Any] = Field(default={}, description="Settings of the teacher.")
    max_new_tokens: PositiveInt = 1024
    temperature: NonNegativeFloat = 0.0
    batch_size: PositiveInt = Field(default=64, description="Requests handed over at a time.")


class LookAlikeConfig(Settings):
    """Which entities to show together, where it is known which look alike."""

    path: Path | None = Field(default=None, description="CSV: entity, other, similarity (0 to 1); None: all alike.")
    preference: float = Field(
        default=0.8, ge=0, le=1, description="0 draws evenly, 1 by similarity alone. The project's own choice."
    )


class LeakageConfig(Settings):
    """The benchmark that no photo may be of."""

    benchmark: Path | None = Field(default=None, description="Parquet, with KVG-Bench's columns; None: no check.")
    allowed_because: str | None = Field(
        default=None, min_length=10, description="Why to go on with photos that are in it; the card will say so."
    )


class RowCounts(Settings):
    """Rows of each file."""

    sft: PositiveInt = Field(
        default=3000, description="With reasoning, for supervised fine-tuning. Paper (v3): 25,000."
    )
    rl: PositiveInt = Field(
        default=1000, description="Boxes only, for reinforcement learning. Paper (v3): about 2,000."
    )
    validation: PositiveInt = 200
    test: PositiveInt = 400


class SynthesisConfig(Settings):
    """The whole stage."""

    source: SourceConfig = SourceConfig()
    questions: Literal["boxes", "choices"] = Field(
        default="boxes",
        description="What is asked: where an entity is among look-alikes, or which of four a photo shows (FGVR).",
    )
    seen: list[str] = Field(default=[], description="Categories that may be trained on; empty: all of them.")
    unseen_entities: list[str] = Field(
        default=[], description="Entities of seen categories that may not be trained on: they are asked for as unseen."
    )
    candidates: dict[Annotated[int, Field(ge=2, le=6)], NonNegativeFloat] = Field(
        default={2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0, 6: 1.0},
        description="Weight of each number of entities in a picture. Paper: 2 to 6, weights unknown.",
    )
    layouts: dict[Layout, NonNegativeFloat] = Field(
        default={"side_by_side": 1.0, "stacked": 1.0, "grid": 1.0, "free": 1.0},
        description="Weight of each layout. Paper: these four, weights unknown.",
    )
    look_alikes: LookAlikeConfig = LookAlikeConfig()
    canvas: CanvasConfig = CanvasConfig()
    splits: SplitShares = SplitShares()
    teacher: TeacherConfig = TeacherConfig()
    filter: FilterConfig = FilterConfig()
    rows: RowCounts = RowCounts()
    rows_per_shard: PositiveInt = Field(
        default=2500,
        description="sft and rl become folders of shards where they have more rows; a killed run keeps them.",
    )
    leakage: LeakageConfig = LeakageConfig()

    @model_validator(mode="after")
    def _something_to_draw_from(self) -> SynthesisConfig:
        for name, weights in (("candidates", self.candidates), ("layouts", self.layouts)):
            if not sum(weights.values()) > 0:
                raise ValueError(f"{name} needs at least one weight above 0")
        return self
