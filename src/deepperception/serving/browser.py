"""The page at `/`: three files, and the examples to click. Nothing comes from outside, and nothing may."""

from __future__ import annotations

import importlib.resources
import io
from collections.abc import Sequence

import orjson
from fastapi import APIRouter
from fastapi.responses import Response
from PIL import Image

from deepperception.inference.images import open_image
from deepperception.serving.golden import Golden

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
_KINDS = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
MOST_EXAMPLES = 4


def page(examples: Sequence[Golden]) -> APIRouter:
    """The page with these pictures to try."""
    router = APIRouter(include_in_schema=False)
    folder = importlib.resources.files("deepperception.serving") / "page"
    for name, kind in _KINDS.items():
        address = "/" if name == "index.html" else f"/page/{name}"
        _serve(router, address, (folder / name).read_bytes(), kind)
    listed = []
    for number, example in enumerate(examples[:MOST_EXAMPLES]):
        address = f"page/example-{number}"
        _serve(router, f"/{address}", example.image, _kind_of(example.image))
        listed.append({"image": address, "entity": example.entity})
    _serve(router, "/page/examples.json", orjson.dumps(listed), "application/json")
    return router


def _serve(router: APIRouter, address: str, content: bytes, kind: str) -> None:
    async def served() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    router.add_api_route(address, served, methods=["GET", "HEAD"], response_class=Response)


def _kind_of(image: bytes) -> str:
    open_image(image)  # InputError where it is none
    with Image.open(io.BytesIO(image)) as opened:
        return str(Image.MIME.get(opened.format or "", "application/octet-stream"))
