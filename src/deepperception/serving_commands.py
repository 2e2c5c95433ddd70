"""The commands that answer: `serve` and `predict`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from deepperception.arguments import PATH, checkpoint
from deepperception.errors import InputError
from deepperception.serving.client import TOKEN

MIB = 1 << 20


@click.command()
@click.option("--model", required=True, metavar="DIR_OR_REF", help="The checkpoint; a reference is verified.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, metavar="N", help="0: a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="NAME", help="Address to listen on.")
@click.option("--engine", type=click.Choice(["auto", "transformers", "vllm"]), default="auto", show_default=True)
@click.option("--digest", metavar="sha256:HEX", help="What the checkpoint must be, where --model is a folder.")
@click.option("--golden", type=PATH, metavar="FILE", help="Parquet, of pictures that it must get right to be ready.")
@click.option("--golden-share", type=click.FloatRange(0, 1), default=1.0, show_default=True, metavar="X")
@click.option("--token-file", type=PATH, metavar="FILE", help=f"Of the bearer token to ask for; or {TOKEN}.")
@click.option(
    "--allow-url", "allow_urls", multiple=True, metavar="ORIGIN", help="Fetch pictures from https://HOST, too."
)
@click.option("--max-batch", type=click.IntRange(1, 1024), default=16, show_default=True, metavar="N")
@click.option("--max-wait-ms", type=click.FloatRange(0, 10_000), default=10.0, show_default=True, metavar="MS")
@click.option("--waiting", type=click.IntRange(1), default=64, show_default=True, metavar="N", help="Beyond them: 429.")
@click.option(
    "--body-mib", type=click.IntRange(1, 1024), default=64, show_default=True, metavar="N", help="A request's."
)
@click.option(
    "--picture-mp", type=click.IntRange(1, 89), default=50, show_default=True, metavar="N", help="Megapixels."
)
@click.option("--request-s", type=click.FloatRange(1), default=300.0, show_default=True, metavar="S")
@click.option("--drain-s", type=click.FloatRange(0), default=60.0, show_default=True, metavar="S")
@click.option("--for-parent", type=int, hidden=True)
def serve(model: str, port: int, host: str, for_parent: int | None, **given: Any) -> None:
    """Serve a checkpoint over HTTP.

    As the KServe model 'deepperception', with a page at /, until stopped; SIGTERM finishes what was taken. Reads the
    checkpoint; writes nothing. docs/serving.md has the routes and the limits.
    """
    from deepperception.platform.lifeline import die_with_parent
    from deepperception.serving.limits import Batching, Limits
    from deepperception.serving.server import Settings
    from deepperception.serving.server import serve as served

    if for_parent is not None:
        die_with_parent(for_parent)
    pixels = given["picture_mp"] * 1_000_000
    limits = Limits(
        body_bytes=given["body_mib"] * MIB,
        picture_pixels=pixels,
        request_pixels=2 * pixels,
        waiting=given["waiting"],
        request_s=given["request_s"],
    )
    settings = Settings(
        engine=given["engine"],
        batching=Batching(given["max_batch"], given["max_wait_ms"] / 1000, max_pixels=2 * pixels),
        allow_urls=given["allow_urls"],
        token=_token(given["token_file"]),
        golden=given["golden"],
        golden_share=given["golden_share"],
        digest=given["digest"],
        drain_s=given["drain_s"],
    )
    served(checkpoint(model), host=host, port=port, limits=limits, settings=settings)


@click.command()
@click.option("--model", required=True, metavar="DIR_OR_URL", help="A checkpoint, or the address of a server.")
@click.option(
    "--image", type=PATH, required=True, metavar="FILE", help="A picture; a folder; or a list, .csv or .jsonl."
)
@click.option("--entity", metavar="NAME", help="What to find. A list may have its own in the column 'entity'.")
@click.option("--draw", type=PATH, metavar="OUT", help="OUT.png for the picture with its box; for many, a folder.")
@click.option(
    "--clients", type=click.IntRange(1, 256), default=4, show_default=True, metavar="N", help="Asked at once."
)
@click.option("--retries", type=click.IntRange(0), default=5, show_default=True, metavar="N", help="At 429 and 503.")
@click.option("--token-file", type=PATH, metavar="FILE", help=f"Of the server's bearer token; or {TOKEN}.")
def predict(
    model: str, image: Path, entity: str | None, draw: Path | None, clients: int, retries: int, token_file: Path | None
) -> None:
    """Find NAME on a picture, or on many.

    Reads the pictures, and asks a checkpoint or a server; prints the box (pixels, and 0-1000), the reasoning and the
    reply as JSON, a line each for many; writes only --draw. Of many, one that cannot be used has its reason in its line
    and in the count at the end, which then exits with 1.
    """
    from deepperception.serving.many import LISTS

    where = model if model.startswith(("http://", "https://")) else str(checkpoint(model))
    shared: dict[str, Any] = {"draw": draw, "token": _token(token_file), "retries": retries}
    if image.is_dir() or image.suffix.lower() in LISTS:
        _many(where, image, entity, clients=clients, **shared)
        return
    if entity is None:
        raise click.UsageError("Missing option '--entity'.")
    from deepperception.serving.predict import predict as predicted

    click.echo(json.dumps(predicted(where, image, entity, **shared).to_json(), indent=2, ensure_ascii=False))


def _many(model: str, source: Path, entity: str | None, **options: Any) -> None:
    from deepperception.serving.many import predict_many, read_tasks

    counted = {"predictions": 0, "boxes": 0, "refused": 0}
    for result in predict_many(model, read_tasks(source, entity), **options):
        click.echo(json.dumps(result.to_json(), ensure_ascii=False))
        counted["refused"] += result.error is not None
        counted["predictions"] += result.prediction is not None
        counted["boxes"] += result.prediction is not None and result.prediction.box is not None
    click.echo(f"{counted['predictions']} predictions, {counted['boxes']} with a box", err=True)
    if counted["refused"]:
        raise InputError(f"{source}: {counted['refused']} pictures could not be used; their lines say why.")


def _token(file: Path | None) -> str | None:
    """From the file, or else from the environment; InputError for an empty one, which would let everybody in."""
    if file is None and TOKEN not in os.environ:
        return None
    try:
        token = (os.environ[TOKEN] if file is None else file.read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: the token cannot be read ({error}); give a file of one line.") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{file or TOKEN}: this is no token; give one line of letters, digits and signs.")
    return token
