"""What Prometheus is told, beside KServe's own `request_predict_seconds`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from deepperception.serving.limits import Noted

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)

REQUESTS = Counter(
    "deepperception_requests",
    "Requests that were answered, by route (v1, v2, openai) and HTTP status.",
    ["route", "status"],
)
SECONDS = Histogram(
    "deepperception_request_seconds", "From a request's last byte to the answer's last.", ["route"], buckets=_SECONDS
)
QUEUE_SECONDS = Histogram(
    "deepperception_queue_seconds", "From the engine's being asked to its beginning.", buckets=_SECONDS
)
BATCH = Histogram("deepperception_batch_requests", "Pictures that were decoded together.", buckets=_BATCHES)
WAITING = Gauge("deepperception_waiting_requests", "Requests that have arrived whole and are not answered yet.")
UPLOADS = Gauge("deepperception_uploads", "Bodies on their way.")
BUFFERED = Gauge("deepperception_buffered_bytes", "Of bodies in the server.")
READY = Gauge("deepperception_ready", "1 once the golden prediction passed; 0 before, and while it drains.")
PROMPT_TOKENS = Counter("deepperception_prompt_tokens", "Tokens that were read, the pictures' included.")
REPLY_TOKENS = Counter("deepperception_reply_tokens", "Tokens that were written.")
PREDICTIONS = Counter("deepperception_predictions", "Replies that were read for a box.")
BOXES = Counter("deepperception_boxes_found", "Replies with a box; over predictions: the box-found rate.")
UNREAD = Counter(
    "deepperception_parse_failures", "Replies that broke off or hold what should be a box and cannot be read as one."
)
ROUTES = ("v1", "v2", "openai")


def begin() -> None:
    """Every route is there from the start, at zero: a rate needs two points."""
    for route in ROUTES:
        SECONDS.labels(route)
        REQUESTS.labels(route, "200")


def answered(route: str, status: int, seconds: float, noted: Noted) -> None:
    """Count one request."""
    REQUESTS.labels(route, str(status)).inc()
    SECONDS.labels(route).observe(seconds)
    PREDICTIONS.inc(noted.instances)
    BOXES.inc(noted.boxes)
    UNREAD.inc(noted.unread)
    PROMPT_TOKENS.inc(noted.prompt_tokens)
    REPLY_TOKENS.inc(noted.reply_tokens)


def decoded(queued_s: float, batch: int) -> None:
    """Count one reply of the engine."""
    QUEUE_SECONDS.observe(queued_s)
    BATCH.observe(batch)
