"""Scores one model on one benchmark: any checkpoint of the Qwen-VL families, any file with KVG-Bench's columns."""

from kfp import dsl

from deepperception.components.base import base
from deepperception.components.ending import ending
from deepperception.components.preflight import preflight
from deepperception.components.scoring import scoring


@dsl.pipeline(name="deepperception-benchmark", description="A model's accuracy on a benchmark, with intervals.")
def benchmark(recipe: str, infra: str, file: str, seed: int = 0) -> None:
    """The model is `model.base` of the recipe; `file` is the benchmark in the store, URI#sha256:HEX.

    `recipe` and `infra` are the two files' content as JSON; `deepperception submit` fills all of them in.
    """
    run = {"recipe": recipe, "infra": infra, "seed": seed}

    with dsl.ExitHandler(ending(**run).set_caching_options(False), name="stages"):
        checked = preflight(**run).set_caching_options(False)
        model = base(**run).after(checked).output
        scoring(model=model, file=file, **run)
