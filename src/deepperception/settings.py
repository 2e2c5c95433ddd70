"""Settings read from YAML: strict, and helpful about a misspelt key."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from deepperception.errors import InputError


class Settings(BaseModel):
    """A group of settings: unknown keys are refused, values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


SettingsT = TypeVar("SettingsT", bound=Settings)


def load(path: Path, model: type[SettingsT]) -> SettingsT:
    """Read a YAML file into `model`; InputError names the file, the key and the nearest valid key."""
    return parse(read_yaml(path), model, where=str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; give the path of a YAML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a readable YAML file.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", "unreadable")
        raise InputError(f"{path}{place}: this is not valid YAML ({problem}).") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of settings, found {type(content).__name__}.")
    return content


def parse(content: Mapping[str, Any], model: type[SettingsT], *, where: str) -> SettingsT:
    """Validate a mapping; `where` names its origin in the error."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(_sentence(error, model, where)) from None


def faults_in(content: Mapping[str, Any], model: type[SettingsT], *, where: str) -> list[InputError]:
    """All that `parse` would refuse, a sentence for each."""
    try:
        model.model_validate(content)
    except ValidationError as error:
        return [InputError(_of_one(fault, model, where, "")) for fault in error.errors(include_url=False)]
    return []


def _sentence(error: ValidationError, model: type[BaseModel], where: str) -> str:
    faults = error.errors(include_url=False)
    more = f" ({len(faults) - 1} more like this)" if len(faults) > 1 else ""
    return _of_one(faults[0], model, where, more)


def _of_one(fault: ErrorDetails, model: type[BaseModel], where: str, more: str) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        valid = _valid_keys(model, fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"valid keys here: {', '.join(sorted(valid))}."
        return f"{where}: unknown key '{key}'; {hint}{more}"
    given = "" if fault["type"] == "missing" else f" (it is {fault['input']!r})"
    return f"{where}: {key}: {fault['msg'][0].lower()}{fault['msg'][1:]}{given}; correct it and run again.{more}"


def _valid_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys allowed at `path` below `model`; empty where the path leaves the known models."""
    parts = iter(path)
    for part in parts:
        field = model.model_fields.get(str(part))
        nested = _nested_model(field.annotation) if field else None
        if field is None or nested is None:
            return []
        if typing.get_origin(field.annotation) in (dict, list):
            next(parts, None)  # the entry's own name or number
        model = nested
    return list(model.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
