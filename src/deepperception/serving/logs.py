"""One JSON object a line on standard error. No pictures, no names of what was looked for, no replies."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

_FIELD = "fields"


class JsonLines(logging.Formatter):
    """Level, logger and message; what a record carries as `fields`; the traceback of an error of ours."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FIELD, {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure() -> None:
    """Every logger of the server in one form; KServe's and uvicorn's lines of each request give way to ours."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("", "kserve", "kserve.trace", "uvicorn", "uvicorn.error", "uvicorn.access", "deepperception"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    logging.getLogger().handlers = [handler]
    logging.getLogger().setLevel(logging.INFO)
    for name in ("uvicorn.access", "kserve.trace", "uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)


def fields(**known: Any) -> dict[str, Any]:
    """The `extra` of a log call: keys of their own in the line."""
    return {_FIELD: known}
