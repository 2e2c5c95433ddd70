"""Annotations: what is read from sound ones, and what is said of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepperception.errors import InputError
from deepperception.inference.images import Frame
from deepperception.synthesis.voc import Annotation, read_annotation, upright_box

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"


def written(folder: Path, text: str) -> Path:
    path = folder / "photo.xml"
    path.write_text(text)
    return path


def test_names_boxes_and_size_are_read_in_order(tmp_path: Path) -> None:
    text = (
        "<annotation><size><width>650</width><height>417</height></size>"
        f"<object><name> owl </name>{BOX.format(81, 88, 522, 408)}</object>"
        f"<object><name>hawk</name>{BOX.format('1.5', 2, 3, 4)}<part><name>wing</name></part></object></annotation>"
    )
    annotation = read_annotation(written(tmp_path, text))
    assert annotation.size == (650, 417)
    assert annotation.objects == (("owl", (81, 88, 522, 408)), ("hawk", (1.5, 2, 3, 4)))


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_some_tools_write_no_size(tmp_path: Path, size: str) -> None:
    assert read_annotation(written(tmp_path, f"<annotation>{size}</annotation>")).size is None


@pytest.mark.parametrize(
    "text, says",
    [
        ("<annotation>", "no well-formed XML"),
        ("", "no well-formed XML"),
        ("<annotation><object><name>owl</name></object></annotation>", "'owl' has no <bndbox>"),
        (f"<annotation><object>{BOX.format(1, 2, 'three', 4)}</object></annotation>", "<xmax> should be a number"),
        (f"<annotation><object>{BOX.format(1, 'nan', 3, 4)}</object></annotation>", "<ymin> should be a number"),
        ("<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>", "<ymin> should be a number"),
        ("<annotation><size><width>wide</width></size></annotation>", "<size/width> should be a number"),
        ('<?xml version="1.0" encoding="foo"?><annotation/>', "cannot be read .unknown encoding: foo"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "cannot be read"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=rf"photo\.xml: .*{says}"):
        read_annotation(written(tmp_path, text))


@pytest.mark.parametrize(
    "box, says",
    [
        ((-1, 0, 5, 5), "outside its picture of 40 x 30"),
        ((0, 0, 41, 5), "outside its picture of 40 x 30"),
        ((0, 0, 5, 31), "outside its picture of 40 x 30"),
        ((50, 50, 60, 60), "outside its picture of 40 x 30"),
        ((9, 0, 5, 5), "reversed"),
        ((0, 9, 5, 5), "reversed"),
        ((5, 5, 5, 9), "reversed or empty"),
    ],
)
def test_boxes_that_are_none_are_named(box: tuple[float, float, float, float], says: str) -> None:
    with pytest.raises(InputError, match=rf"owl\.xml: the box .* {says}"):
        upright_box(Annotation(Path("owl.xml"), (40, 30), ()), box, Frame((40, 30)))


def test_a_box_may_reach_every_edge() -> None:
    box = (0.0, 0.0, 40.0, 30.0)
    assert upright_box(Annotation(Path("owl.xml"), None, ()), box, Frame((40, 30))) == box


def test_an_annotation_of_another_picture_is_named() -> None:
    with pytest.raises(InputError, match=r"owl\.xml: it is for a picture of 400 x 300 and the photo has 40 x 30"):
        upright_box(Annotation(Path("owl.xml"), (400, 300), ()), (1, 1, 2, 2), Frame((40, 30)))
