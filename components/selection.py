from kfp import dsl
from kfp.dsl import HTML, Input, Metrics, Model, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def selection(
    sft_scores: Input[list[Metrics]],
    cot_sft_scores: Input[list[Metrics]],
    grpo_scores: Input[list[Metrics]],
    recipe: str,
    infra: str,
    seed: int,
    sft: Output[Model],
    sft_validation: Output[Metrics],
    cot_sft: Output[Model],
    cot_sft_validation: Output[Metrics],
    grpo: Output[Model],
    grpo_validation: Output[Metrics],
    table: Output[Metrics],
    page: Output[HTML],
) -> None:
    """The best trial by validation accuracy, its models and their scores; and the table of all trials."""
    from deepperception.platform.steps import run_step

    scores = {"sft": sft_scores, "cot_sft": cot_sft_scores, "grpo": grpo_scores}
    models = {"sft": sft, "cot_sft": cot_sft, "grpo": grpo, "grpo_validation": grpo_validation}
    others = {"sft_validation": sft_validation, "cot_sft_validation": cot_sft_validation, "table": table, "page": page}
    run_step("selection", recipe, infra, seed, inputs=scores, outputs=models | others)
