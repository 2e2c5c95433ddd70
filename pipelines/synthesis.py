"""Photos to datasets, and no further: to look at what a recipe's photos become before any GPU trains on it."""

from kfp import dsl

from deepperception.components.ending import ending
from deepperception.components.preflight import preflight
from deepperception.components.synthesis import synthesis


@dsl.pipeline(name="deepperception-synthesis", description="Photos of single entities become datasets.")
def synthesis_only(recipe: str, infra: str, seed: int = 0) -> None:
    """`recipe` and `infra` are the two files' content as JSON; `deepperception submit` fills them in."""
    run = {"recipe": recipe, "infra": infra, "seed": seed}

    with dsl.ExitHandler(ending(**run).set_caching_options(False), name="stages"):
        checked = preflight(**run).set_caching_options(False)
        synthesis(**run).after(checked)
