from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def replication(
    data: Input[Dataset],
    trials: Input[Metrics],
    base_test: Input[Metrics],
    sft_test: Input[Metrics],
    cot_sft_test: Input[Metrics],
    grpo_test: Input[Metrics],
    decision: Input[Artifact],
    recipe: str,
    infra: str,
    seed: int,
    scores: Output[Metrics],
    page: Output[HTML],
) -> None:
    """The chosen settings' other seeds on test, for the spread; after the decision, which they cannot change."""
    from deepperception.platform.steps import run_step

    inputs = {"data": data, "trials": trials, "decision": decision, "base_test": base_test, "sft_test": sft_test}
    inputs |= {"cot_sft_test": cot_sft_test, "grpo_test": grpo_test}
    run_step("replication", recipe, infra, seed, inputs=inputs, outputs={"scores": scores, "page": page})
