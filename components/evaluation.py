from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def evaluation(
    model: Input[Model],
    data: Input[Dataset],
    arm: str,
    recipe: str,
    infra: str,
    seed: int,
    validation: Output[Metrics],
    test: Output[Metrics],
    page: Output[HTML],
) -> None:
    """Scores one arm's model on the pictures to choose by and on those to report on."""
    from deepperception.platform.steps import run_step

    outputs = {"validation": validation, "test": test, "page": page}
    run_step(f"evaluation-{arm}", recipe, infra, seed, inputs={"model": model, "data": data}, outputs=outputs)
