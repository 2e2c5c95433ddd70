"""The stand-in keeps the API's description: else tests against it would say nothing."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "pipelines", {"name": "a", "colour": "red"}, "'colour' was unexpected"),
        ("POST", "pipelines", {"name": 7}, "7 is not of type 'string'"),
        ("GET", "runs?colour=red", None, "no query parameter 'colour'"),
        ("GET", "no/such/place", None, "there is no such operation"),
    ],
)
def test_what_the_description_does_not_allow_is_noticed(
    api_description: dict[str, Any], kfp_api: Any, method: str, path: str, body: Any, says: str
) -> None:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"{kfp_api.url}/apis/v2beta1/{path}", data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        error.close()
    violations = list(kfp_api.violations)
    kfp_api.violations.clear()
    assert says in violations[0]
