from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def sft(
    model: Input[Model],
    data: Input[Dataset],
    arm: str,
    recipe: str,
    infra: str,
    seed: int,
    policy: Output[Model],
    trial: str = "",
) -> None:
    """Stage 1: supervised fine-tuning, on the reasoning ('cot_sft') or, as its control, on bare answers ('sft')."""
    from deepperception.platform.steps import run_step

    run_step(arm, recipe, infra, seed, inputs={"model": model, "data": data}, outputs={"policy": policy}, trial=trial)
