"""What the commands take, and how they fail: in one sentence, with the error's own exit code."""

from __future__ import annotations

import errno
import functools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepperception.errors import DeepPerceptionError, InputError, Preempted
from deepperception.infra import Infra, load_infra
from deepperception.progress import Progress
from deepperception.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from deepperception.artifacts import Context, Interface, Manifest, S3Settings

Command = Callable[..., None]

PATH = click.Path(path_type=Path)
# What a mistyped --out or --draw runs into.
_NO_PLACE = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.EPERM,
    errno.EROFS,
)


class Commands(click.Group):
    """Tells a user's error in one sentence, and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _stopped_alike():
                return super().invoke(ctx)
        except DeepPerceptionError as error:
            known = error
        except KeyboardInterrupt:
            known = Preempted("stopped; run again to go on.")
        except OSError as error:
            known = _in_a_sentence(error)
        click.echo(f"error: {known}", err=True)
        ctx.exit(known.exit_code)


@contextmanager
def _stopped_alike() -> Iterator[None]:
    """Have SIGTERM, by which clusters stop a process, unwind it as a Ctrl-C does.

    KeyboardInterrupt passes the `except Exception` of libraries; an error of our own would be taken for theirs.
    """
    if threading.current_thread() is not threading.main_thread():  # Python's signals are for that one alone
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_a_sentence(error: OSError) -> DeepPerceptionError:
    from deepperception.artifacts.disk import is_full

    if is_full(error):
        return InputError("the disk is full; free some space and run again, finished stages are kept.")
    if error.errno in _NO_PLACE and error.filename:
        return InputError(f"{error.filename}: cannot be used ({error.strerror}); give another place.")
    raise error


def takes_recipe(command: Command) -> Command:
    """RECIPE and the options that change it; the command gets `recipe`."""

    @click.argument("recipe_file", metavar="RECIPE")
    @click.option("--seed", type=int, metavar="N", help="In the place of the recipe's own.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting: sft.epochs=2.")
    @click.option("--source", type=PATH, metavar="DIR", help="A folder of photos, in the place of the recipe's source.")
    @functools.wraps(command)
    def with_recipe(
        recipe_file: str, seed: int | None, overrides: tuple[str, ...], source: Path | None, **rest: Any
    ) -> None:
        command(recipe=load_recipe(recipe_file, overrides, source=source, seed=seed), **rest)

    return with_recipe


def takes_seeds(command: Command) -> Command:
    """--seeds, which is the recipe's `search.seeds`; goes below `takes_recipe`."""

    @click.option("--seeds", metavar="N,N,...", help="Train with each; the best on validation goes on to the test.")
    @functools.wraps(command)
    def with_seeds(recipe: Recipe, seeds: str | None, **rest: Any) -> None:
        command(recipe=recipe if seeds is None else _over(recipe, seeds), **rest)

    return with_seeds


def _over(recipe: Recipe, seeds: str) -> Recipe:
    from deepperception.search.trials import with_seeds

    try:
        numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        raise InputError(f"--seeds {seeds}: expected whole numbers between commas, as 0,1,2.") from None
    return with_seeds(recipe, numbers, where=f"--seeds {seeds}")


def takes_infra(command: Command) -> Command:
    """--infra, and --out, which it may depend on; the command gets `infra` and `out`."""

    @click.option("--infra", "file", default="laptop", show_default=True, metavar="FILE", help="Where it runs.")
    @click.option("--out", type=PATH, metavar="DIR", help="Of the run; '{out}' in FILE. With a RECIPE: runs/NAME.")
    @functools.wraps(command)
    def with_infra(file: str, out: Path | None, **rest: Any) -> None:
        if out is None and "recipe" in rest:
            out = Path("runs", rest["recipe"].name)
        out = out.absolute() if out else None
        command(infra=load_infra(file, out), out=out, **rest)

    return with_infra


def allows_tags(command: Command) -> Command:
    """--allow-tags; the command gets `allow_tags`."""
    tell = "Let images be named by tags, whose content may change."
    return click.option("--allow-tags", is_flag=True, help=tell)(command)


def takes_endpoint(command: Command) -> Command:
    """--endpoint; the command gets `endpoint`, for `with_endpoint`."""
    tell = "In the place of kubeflow.endpoint."
    return click.option("--endpoint", envvar="KF_PIPELINES_ENDPOINT", metavar="URL", help=tell)(command)


def with_endpoint(infra: Infra, endpoint: str | None) -> Infra:
    """The infra file with another address of Kubeflow Pipelines: a port-forward's, say."""
    if not endpoint or infra.kubeflow is None:
        return infra
    return infra.model_copy(update={"kubeflow": infra.kubeflow.model_copy(update={"endpoint": endpoint})})


def trains(command: Command) -> Command:
    """RECIPE, --model, --data and --out; the command gets `recipe`, the folders, `context` and `interface`."""

    @takes_recipe
    @click.option("--model", required=True, metavar="DIR_OR_REF", help="The checkpoint to start from.")
    @click.option("--data", type=PATH, required=True, metavar="DIR", help="A folder that `synthesize` wrote.")
    @click.option("--out", type=PATH, required=True, metavar="DIR", help="The checkpoint folder to write.")
    @functools.wraps(command)
    def with_folders(recipe: Recipe, model: str, data: Path, **rest: Any) -> None:
        folder = checkpoint(model)
        context = context_of(recipe, command.__name__, model=folder, data=data)
        interface = _interface(recipe, folder)
        command(recipe=recipe, model=folder, data=data, context=context, interface=interface, **rest)

    return with_folders


def _interface(recipe: Recipe, model: Path) -> Interface:
    """How the trained model is asked: by the recipe, as in a whole run, whatever it starts from."""
    from deepperception.artifacts import Interface, read_interface

    return Interface(prompt=read_interface(model).prompt, **recipe.model.model_dump(exclude={"base"}))


def checkpoint(model: str, s3: S3Settings | None = None) -> Path:
    """The local folder of `model` (a folder or a reference); InputError where it is no Qwen-VL checkpoint.

    The server behind an s3:// reference is that of `s3`, or of the environment.
    """
    from deepperception.artifacts import check_checkpoint, resolve

    folder = resolve(model, s3=s3)
    check_checkpoint(folder)
    return folder


def context_of(recipe: Recipe, stage: str, *sections: str, **inputs: Path) -> Context:
    """For a stage that reads the recipe's section of its own name, and more `sections`."""
    from deepperception.artifacts import Context, payload_digest

    digests = {name: payload_digest(folder) for name, folder in inputs.items()}
    return Context(recipe.seed, Progress(stage), recipe.section_hash(stage, *sections), digests)


def tell(manifest: Manifest, out: Path) -> None:
    """One line about a finished artifact."""
    counts = ", ".join(f"{name} {value:,}" for name, value in manifest.counts.items() if isinstance(value, int))
    click.echo(f"{out}: {manifest.kind} {manifest.digest} ({counts})")
