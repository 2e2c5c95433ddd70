"""A recipe: what a run makes, portable between machines. Each stage declares its own section."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from deepperception import presets
from deepperception.errors import InputError
from deepperception.evaluation.config import EvaluationConfig
from deepperception.grpo.config import GrpoConfig
from deepperception.promotion.config import PromotionConfig
from deepperception.search.config import SearchConfig
from deepperception.search.trials import check_search
from deepperception.settings import Settings, parse, read_yaml
from deepperception.sft.config import SftConfig
from deepperception.synthesis.config import SynthesisConfig

# What a folder of photos keeps of the source that the recipe names: facts about the photos, not about how to find them.
_KEPT_FOR_A_FOLDER = ("category", "licence", "skip_bad")


class ModelSettings(Settings):
    """The model that a run starts from, and how it is asked."""

    base: str = Field(description="A folder, package://NAME/FOLDER, hf://ORG/NAME@COMMIT, or URI#sha256:HEX.")
    box_step: int = Field(default=1, ge=1, le=1000, description="Thousandths between the coordinates it writes.")
    max_pixels: int = Field(default=401_408, ge=3_136, description="Per picture, after resizing. Paper, both stages.")
    max_new_tokens: int = Field(default=512, ge=1, description="Longest reply. Paper, stage 2.")


class Recipe(Settings):
    """The whole of it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="Lower case, digits and dashes.")
    seed: int = Field(default=0, ge=0, lt=2**31)
    model: ModelSettings
    synthesis: SynthesisConfig
    sft: SftConfig
    grpo: GrpoConfig
    evaluation: EvaluationConfig
    promotion: PromotionConfig
    search: SearchConfig | None = Field(default=None, description="Train more than once, and choose the best.")

    def refuse_choices(self) -> None:
        """InputError where it asks for letters: the whole pipeline ends in a service that answers with boxes."""
        if self.synthesis.questions == "choices":
            raise InputError(
                f"recipe '{self.name}', synthesis.questions: the whole pipeline is for boxes; run a recipe of multiple "
                "choice by its stages, with synthesize, sft, grpo and evaluate."
            )

    def section_hash(self, *sections: str) -> str:
        """`sha256:<hex>` of the named sections' canonical JSON: what a stage that reads them depends on."""
        content = self.model_dump(mode="json")
        canonical = json.dumps({name: content[name] for name in sections}, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"

    def to_json(self) -> str:
        """One line, for a pipeline parameter."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what `to_json` wrote."""
        return parse(json.loads(text), cls, where="the parameter 'recipe'")


def load_recipe(
    path_or_name: str | Path, overrides: Sequence[str] = (), *, source: Path | None = None, seed: int | None = None
) -> Recipe:
    """Read a recipe file, or the ready-made one of that name.

    `overrides` are `a.b=value`, the value in YAML; `source` puts a folder of photos in the place of the recipe's own
    source. InputError names the file, the key and the nearest valid key.
    """
    path = presets.find("recipes", path_or_name)
    content = read_yaml(path)
    where = str(path)
    if source is not None:
        _replace_source(content, source)
        where += f", --source {source}"
    if seed is not None:
        content["seed"] = seed
    for override in overrides:
        _override(content, override)
        where += f", --set {override}"
    recipe = parse(content, Recipe, where=where)
    check_search(recipe, where)
    return recipe


def _replace_source(content: dict[str, Any], folder: Path) -> None:
    synthesis = content.setdefault("synthesis", {})
    if not isinstance(synthesis, dict):
        return  # validation says what is wrong with it
    own = synthesis.get("source")
    kept = {key: own[key] for key in _KEPT_FOR_A_FOLDER if key in own} if isinstance(own, dict) else {}
    synthesis["source"] = {**kept, "kind": "folder", "path": str(folder.absolute())}


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = [int(part) if part.isdigit() else part for part in key.strip().split(".")]
    if not equals or "" in parts:
        raise InputError(f"--set {override}: expected section.key=value, for example --set sft.epochs=1.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"--set {override}: the value is not valid YAML; quote it.") from None
    place: Any = content
    for part in parts[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise InputError(f"--set {override}: '{part}' is a single value and holds no keys; set it as a whole.")
    place[parts[-1]] = value
