from kfp import dsl
from kfp.dsl import Model, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def base(recipe: str, infra: str, seed: int, model: Output[Model]) -> None:
    """Checks the recipe's base checkpoint and takes it into the store."""
    from deepperception.platform.steps import run_step

    run_step("base", recipe, infra, seed, outputs={"model": model})
