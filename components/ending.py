from kfp import dsl

from deepperception.platform import images


@dsl.component(base_image=images.TRAINER, install_kfp_package=False)
def ending(recipe: str, infra: str, seed: int, status: dsl.PipelineTaskFinalStatus) -> None:
    """However the run ended: closes its record, and says which stage failed and why."""
    from deepperception.platform.steps import run_step

    facts = {"status": {"state": status.state, "message": status.error_message or ""}}
    run_step("ending", recipe, infra, seed, outputs={}, facts=facts)
