"""The whole flow for a recipe with a `search`: a training for each seed and setting, of which the best goes on.

Trials are compared on validation alone. What was chosen meets the test once, and the gate after it.
"""

from kfp import dsl

from deepperception.components.base import base
from deepperception.components.ending import ending
from deepperception.components.exam import exam
from deepperception.components.grpo import grpo
from deepperception.components.plan import plan
from deepperception.components.preflight import preflight
from deepperception.components.promotion import promotion
from deepperception.components.replication import replication
from deepperception.components.report import report
from deepperception.components.selection import selection
from deepperception.components.sft import sft
from deepperception.components.synthesis import synthesis


@dsl.pipeline(name="deepperception-search", description="A training a seed and setting; the best is tested, promoted.")
def search(recipe: str, infra: str, seed: int = 0) -> None:
    """`recipe` and `infra` are the two files' content as JSON; `seed` is the data's, the trials have their own."""
    run = {"recipe": recipe, "infra": infra, "seed": seed}

    # Not cached is what looks at the world, or changes it: it is no function of its inputs.
    with dsl.ExitHandler(ending(**run).set_caching_options(False), name="stages"):
        checked = preflight(**run).set_caching_options(False)
        start = base(**run).after(checked).set_display_name("base").output
        data = synthesis(**run).after(checked).set_display_name("synthesis").output
        planned = plan(**run).after(checked).output

        with dsl.ParallelFor(planned, name="trials") as trial:
            its = {"data": data, "trial": trial, **run}
            direct = sft(model=start, arm="sft", **its).set_display_name("direct SFT").output
            cold = sft(model=start, arm="cot_sft", **its).set_display_name("CoT-SFT").output
            policy = grpo(model=cold, **its).set_display_name("GRPO").output
            scored = {}
            for arm, model in {"sft": direct, "cot_sft": cold, "grpo": policy}.items():
                validated = exam(model=model, arm=arm, split="validation", **its)
                scored[arm] = validated.set_display_name(f"validation of {arm}").output

        choice = selection(**{f"{arm}_scores": dsl.Collected(scores) for arm, scores in scored.items()}, **run)
        chosen = choice.outputs

        models = {"base": start, **{arm: chosen[arm] for arm in scored}}
        validation = {f"{arm}_validation": chosen[f"{arm}_validation"] for arm in scored}
        first = exam(model=start, data=data, arm="base", split="validation", **run)
        validation["base_validation"] = first.set_display_name("validation of base").output
        test = {}
        for arm, model in models.items():
            # The base, too, is tested after the choice: then nothing before it has seen the test's answers.
            tested = exam(model=model, data=data, arm=arm, split="test", **run).after(choice)
            test[f"{arm}_test"] = tested.set_display_name(f"test of {arm}").output

        promoted = promotion(data=data, **validation, **test, **run).set_caching_options(False)
        report(data=data, decision=promoted.output, **test, **run)
        replication(data=data, trials=chosen["table"], decision=promoted.output, **test, **run)
