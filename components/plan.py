from kfp import dsl

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def plan(recipe: str, infra: str, seed: int) -> list[str]:
    """The trials of the recipe's search, each as JSON."""
    from deepperception.platform.steps import run_step

    return list(run_step("plan", recipe, infra, seed, outputs={})["trials"]["each"])
