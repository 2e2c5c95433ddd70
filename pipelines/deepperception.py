"""The whole flow, from photos to a served model.

KFP's own command takes it: `kfp dsl compile --py pipelines/deepperception.py --output flow.yaml`.
"""

from pathlib import Path

if __name__ == "deepperception":
    # KFP's command imports this file by its own name, which is the package's: be the package, too.
    _root = Path(__file__).resolve().parent.parent
    __path__ = [str(_root / "src" / "deepperception"), str(_root)]

from kfp import dsl

from deepperception.components.base import base
from deepperception.components.ending import ending
from deepperception.components.evaluation import evaluation
from deepperception.components.grpo import grpo
from deepperception.components.preflight import preflight
from deepperception.components.promotion import promotion
from deepperception.components.report import report
from deepperception.components.sft import sft
from deepperception.components.synthesis import synthesis


@dsl.pipeline(name="deepperception", description="Data, cold start, reinforcement learning, evaluation, promotion.")
def flow(recipe: str, infra: str, seed: int = 0) -> None:
    """`recipe` and `infra` are the two files' content as JSON; `deepperception submit` fills them in."""
    run = {"recipe": recipe, "infra": infra, "seed": seed}

    # Not cached is what looks at the world, or changes it: it is no function of its inputs.
    with dsl.ExitHandler(ending(**run).set_caching_options(False), name="stages"):
        checked = preflight(**run).set_caching_options(False)
        start = base(**run).after(checked).set_display_name("base").output
        data = synthesis(**run).after(checked).set_display_name("synthesis").output
        direct = sft(model=start, data=data, arm="sft", **run).set_display_name("direct SFT").output
        cold = sft(model=start, data=data, arm="cot_sft", **run).set_display_name("CoT-SFT").output
        policy = grpo(model=cold, data=data, **run).set_display_name("GRPO").output

        models = {"base": start, "sft": direct, "cot_sft": cold, "grpo": policy}
        validation, test = {}, {}
        for arm, model in models.items():
            scored = evaluation(model=model, data=data, arm=arm, **run).set_display_name(f"evaluation of {arm}")
            validation[f"{arm}_validation"] = scored.outputs["validation"]
            test[f"{arm}_test"] = scored.outputs["test"]

        promoted = promotion(data=data, **validation, **test, **run).set_caching_options(False)
        report(data=data, decision=promoted.output, **test, **run)
