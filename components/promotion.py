from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def promotion(
    data: Input[Dataset],
    base_validation: Input[Metrics],
    base_test: Input[Metrics],
    sft_validation: Input[Metrics],
    sft_test: Input[Metrics],
    cot_sft_validation: Input[Metrics],
    cot_sft_test: Input[Metrics],
    grpo_validation: Input[Metrics],
    grpo_test: Input[Metrics],
    recipe: str,
    infra: str,
    seed: int,
    decision: Output[Artifact],
) -> None:
    """The best arm meets the champion, and takes its place where the test and its service bear it out."""
    from deepperception.platform.steps import run_step

    inputs = {"data": data, "base_validation": base_validation, "base_test": base_test}
    inputs |= {"sft_validation": sft_validation, "sft_test": sft_test}
    inputs |= {"cot_sft_validation": cot_sft_validation, "cot_sft_test": cot_sft_test}
    inputs |= {"grpo_validation": grpo_validation, "grpo_test": grpo_test}
    run_step("promotion", recipe, infra, seed, inputs=inputs, outputs={"decision": decision})
