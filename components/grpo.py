from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def grpo(
    model: Input[Model],
    data: Input[Dataset],
    recipe: str,
    infra: str,
    seed: int,
    policy: Output[Model],
    trial: str = "",
) -> None:
    """Stage 2: reinforcement learning on box overlap and format, from the cold-started model."""
    from deepperception.platform.steps import run_step

    run_step(
        "grpo", recipe, infra, seed, inputs={"model": model, "data": data}, outputs={"policy": policy}, trial=trial
    )
