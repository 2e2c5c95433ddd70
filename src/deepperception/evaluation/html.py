"""What the pages share: the templates, and pictures within the page itself."""

from __future__ import annotations

import base64
from typing import Any, Literal


def page_template(name: str) -> Any:
    """A template of this folder. What models and photographers write ends up on the page: everything is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("deepperception.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def data_uri(content: bytes, form: Literal["png", "jpeg"] = "png") -> str:
    """A picture's address that holds the picture."""
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"
