"""The paper's other sources in the layouts that they are published in: FGVC-Aircraft, Stanford Cars, Food-101."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from deepperception.errors import InputError
from deepperception.settings import Settings, parse
from deepperception.synthesis.config import SourceConfig
from deepperception.synthesis.listed import Entry, ListedSource
from deepperception.synthesis.sources import PixelBox, Tally

# The copyright line at the foot of every photo; the authors ask that it be removed.
_AIRCRAFT_BANNER = 20
_CARS_LISTS = {
    "train": "devkit/cars_train_annos.mat",
    "test": "devkit/cars_test_annos_withlabels.mat",
    "all": "cars_annos.mat",
}
_CARS_FOLDERS = {"train": "cars_train", "test": "cars_test", "all": "."}


class AircraftOptions(Settings):
    """Which of its lists, and how fine the names are."""

    split: Literal["train", "val", "trainval", "test"] = "trainval"
    level: Literal["variant", "family", "manufacturer"] = "variant"
    with_manufacturer: bool = Field(True, description="'Boeing 707-320' and not '707-320', as KVG-Bench names them.")


class CarsOptions(Settings):
    """Which of its lists."""

    split: Literal["train", "test", "all"] = "train"


class FoodOptions(Settings):
    """Which of its lists."""

    split: Literal["train", "test"] = "train"


def aircraft(config: SourceConfig, seed: int) -> ListedSource:
    """The source of kind `fgvc-aircraft`: `path` is fgvc-aircraft-2013b/data."""
    return ListedSource(config, _read_aircraft)


def cars(config: SourceConfig, seed: int) -> ListedSource:
    """The source of kind `stanford-cars`: `path` holds devkit/ and cars_train/, or cars_annos.mat and car_ims/."""
    return ListedSource(config, _read_cars)


def food(config: SourceConfig, seed: int) -> ListedSource:
    """The source of kind `food101`: `path` is food-101. It has no boxes: set whole_image, or annotate."""
    return ListedSource(config, _read_food)


def _read_aircraft(config: SourceConfig, left_out: Tally) -> Iterator[Entry]:
    root = _root(config)
    options = parse(config.options, AircraftOptions, where="synthesis.source.options")
    names = _labelled(root / f"images_{options.level}_{options.split}.txt")
    makers: dict[str, str] = {}
    if options.with_manufacturer and options.level != "manufacturer":
        makers = dict(_labelled(root / f"images_manufacturer_{options.split}.txt"))
    boxes = {name: _edges(text, root / "images_box.txt") for name, text in _labelled(root / "images_box.txt")}
    for identity, name in names:
        yield Entry(
            id=f"images/{identity}.jpg",
            picture=root / "images" / f"{identity}.jpg",
            category=config.category or "aircraft",
            entity=_with_maker(name, makers.get(identity, "")),
            where=f"{root}, {identity}",
            boxes=(boxes[identity],) if identity in boxes else (),
            cut_off=_AIRCRAFT_BANNER,
        )


def _with_maker(name: str, maker: str) -> str:
    """'707-320' of Boeing is the Boeing 707-320; 'Boeing 717' stays what it is."""
    return name if not maker or name.casefold().startswith(maker.casefold()) else f"{maker} {name}"


def _read_cars(config: SourceConfig, left_out: Tally) -> Iterator[Entry]:
    root = _root(config)
    options = parse(config.options, CarsOptions, where="synthesis.source.options")
    path = root / _CARS_LISTS[options.split]
    content = _mat(path)
    classes = content if "class_names" in content else _mat(path.parent / "cars_meta.mat")
    names = [str(name).strip() for name in classes["class_names"]]
    for number, note in enumerate(content["annotations"], start=1):
        where = f"{path}, annotation {number}"
        try:
            name = str(note["relative_im_path"] if "relative_im_path" in note else note["fname"])
            x1, y1, x2, y2 = (float(note[f"bbox_{corner}"]) for corner in ("x1", "y1", "x2", "y2"))
            entity = names[int(note["class"]) - 1]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{where}: it cannot be understood ({error!r}); get the development kit again.") from None
        folder = _CARS_FOLDERS[options.split]
        yield Entry(
            id=name if folder == "." else f"{folder}/{name}",
            picture=root / folder / name,
            category=config.category or "car",
            entity=entity,
            where=where,
            boxes=((x1 - 1, y1 - 1, x2, y2),),  # MATLAB counts pixels from 1, and the last one is in the box
        )


def _read_food(config: SourceConfig, left_out: Tally) -> Iterator[Entry]:
    root = _root(config)
    options = parse(config.options, FoodOptions, where="synthesis.source.options")
    classes, labels = (_lines(root / "meta" / name) for name in ("classes.txt", "labels.txt"))
    if len(classes) != len(labels):
        raise InputError(f"{root / 'meta'}: classes.txt and labels.txt differ in length; get the dataset again.")
    spoken = dict(zip(classes, labels, strict=True))
    listing = root / "meta" / f"{options.split}.txt"
    for number, line in enumerate(_lines(listing), start=1):
        name = line.split("/")[0]
        if name not in spoken:
            raise InputError(f"{listing}, line {number}: the class '{name}' is not in classes.txt; correct it.")
        yield Entry(
            id=f"images/{line}.jpg",
            picture=root / "images" / f"{line}.jpg",
            category=config.category or "food",
            entity=spoken[name],
            where=f"{listing}, line {number}",
        )


def _root(config: SourceConfig) -> Path:
    assert config.path is not None
    return config.path


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{path}: the list cannot be read ({error.strerror}); check the folder's layout.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: this is no text in UTF-8; get the dataset again.") from None


def _labelled(path: Path) -> list[tuple[str, str]]:
    """Lines of 'IMAGE the rest'."""
    pairs = []
    for number, line in enumerate(_lines(path), start=1):
        identity, _, rest = line.partition(" ")
        if not rest:
            raise InputError(f"{path}, line {number}: expected an image's number and its label; correct it.")
        pairs.append((identity, rest.strip()))
    return pairs


def _edges(text: str, path: Path) -> PixelBox:
    """Its boxes count pixels from 1, the last one included."""
    try:
        x1, y1, x2, y2 = (int(part) for part in text.split())
    except ValueError:
        raise InputError(f"{path}: the box '{text}' should be four whole numbers; correct it.") from None
    return x1 - 1, y1 - 1, x2, y2


def _mat(path: Path) -> dict[str, Any]:
    """A MATLAB file, structs as mappings of their fields."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(str(path), simplify_cells=True)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the folder's layout.") from None
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: this is no MATLAB file that can be read ({reason}); get it again.") from None
    return dict(content)
