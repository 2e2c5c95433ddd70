from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def exam(
    model: Input[Model],
    data: Input[Dataset],
    arm: str,
    split: str,
    recipe: str,
    infra: str,
    seed: int,
    scores: Output[Metrics],
    trial: str = "",
) -> None:
    """Scores one arm's model on one split: 'validation' to choose by, or 'test' once the choice is made."""
    from deepperception.platform.steps import run_step

    inputs = {"model": model, "data": data}
    run_step(f"evaluation-{arm}-{split}", recipe, infra, seed, inputs=inputs, outputs={"scores": scores}, trial=trial)
