from kfp import dsl
from kfp.dsl import Dataset, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def synthesis(recipe: str, infra: str, seed: int, data: Output[Dataset]) -> None:
    """Photos of single entities become the files to train on, to choose by and to test on."""
    from deepperception.platform.steps import run_step

    run_step("synthesis", recipe, infra, seed, outputs={"data": data})
