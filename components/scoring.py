from kfp import dsl
from kfp.dsl import HTML, Input, Metrics, Model, Output

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def scoring(
    model: Input[Model],
    file: str,
    recipe: str,
    infra: str,
    seed: int,
    scores: Output[Metrics],
    page: Output[HTML],
) -> None:
    """Scores a model on a benchmark of the store, which is known by its digest."""
    from deepperception.platform.steps import run_step

    facts = {"benchmark": {"reference": file}}
    outputs = {"scores": scores, "page": page}
    run_step("scoring", recipe, infra, seed, inputs={"model": model}, outputs=outputs, facts=facts)
