from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def report(
    data: Input[Dataset],
    base_test: Input[Metrics],
    sft_test: Input[Metrics],
    cot_sft_test: Input[Metrics],
    grpo_test: Input[Metrics],
    decision: Input[Artifact],
    recipe: str,
    infra: str,
    seed: int,
    page: Output[HTML],
) -> None:
    """One page for a person: scores, curves, predictions on their pictures, and what was promoted."""
    from deepperception.platform.steps import run_step

    tests = {"base_test": base_test, "sft_test": sft_test, "cot_sft_test": cot_sft_test, "grpo_test": grpo_test}
    inputs = {"data": data, "decision": decision, **tests}
    run_step("report", recipe, infra, seed, inputs=inputs, outputs={"page": page})
