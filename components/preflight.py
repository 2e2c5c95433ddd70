from kfp import dsl

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def preflight(recipe: str, infra: str, seed: int) -> None:
    """Looks at every secret, endpoint, bucket, quota and parameter before a GPU is taken; tells all faults at once."""
    from deepperception.platform.steps import run_step

    run_step("preflight", recipe, infra, seed, outputs={})
