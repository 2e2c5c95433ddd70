"""The artifact that says who met whom, and how it went: decision.json for machines, decision.html for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.artifacts import Context, Outcome, Ref, Store, once, payload_digest, read_metrics
from deepperception.artifacts.disk import write_text
from deepperception.errors import InputError
from deepperception.promotion.config import PromotionConfig
from deepperception.promotion.criteria import Criterion, evidence, leakage
from deepperception.promotion.gate import Decision, decide
from deepperception.tracking import Version

DECISION, PAGE = "decision.json", "decision.html"


@dataclass(frozen=True)
class Arm:
    """One model of the run, with its scores."""

    name: str
    model: Ref
    validation: Path
    """Evaluation folder; chooses among the arms."""
    test: Path
    """Evaluation folder; confirms the choice."""
    run_id: str | None = None
    """Of the tracked stage run that made the model."""
    test_run_id: str | None = None
    """Of the tracked stage run that scored it."""


def accuracy(evaluation: Path) -> float:
    """Of all cases, by the official parser."""
    return float(read_metrics(evaluation)["official"]["all"]["accuracy"])


def read_evidence(folder: Path) -> dict[str, Any]:
    """The content of `decision.json`."""
    try:
        content: dict[str, Any] = json.loads((folder / DECISION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / DECISION}: the evidence cannot be read ({error}); promote again.") from None
    return content


def tells_of_promotion(content: Mapping[str, Any], digest: str) -> bool:
    """Whether this is the evidence that the model with this digest was promoted on."""
    decision = content["decision"]
    return content["candidate"]["digest"] == digest and decision is not None and bool(decision["promote"])


@dataclass(frozen=True)
class Evidence:
    """Where the decision is written. It names digests: version numbers are the registry's."""

    out: Path
    context: Context
    arms: Sequence[Arm]
    candidate: Arm
    champion: Version
    store: Store
    dataset: Path | None = None

    def decide(
        self,
        config: PromotionConfig,
        champion_test: Path,
        budgets: Callable[[], Sequence[Criterion]],
        override: str | None,
    ) -> Decision:
        """Decide, and write the decision down; or read it, where it was made on the same evaluations.

        `budgets` measures, and is asked only where the decision is made.
        """

        def build(folder: Path) -> Outcome:
            against = Ref(self.champion.uri, self.champion.digest)
            models = {"candidate": self.candidate.model, "champion": against}
            complete = evidence(self.candidate.test, champion_test, models, self.store)
            decision = decide(
                self.candidate.test,
                champion_test,
                config,
                seed=self.context.seed,
                more=[leakage(self.dataset, config), complete, *budgets()],
                override=override,
            )
            return self._fill(folder, decision.reason, decision)

        more = {"champion.test": payload_digest(champion_test)}
        if override is not None:
            more["override"] = f"sha256:{hashlib.sha256(override.encode()).hexdigest()}"
        self._once(build, more)
        return Decision.from_json(read_evidence(self.out)["decision"])

    def keep_or_write(self, reason: str) -> None:
        """Leave the evidence of the champion's own promotion; without it, write that nothing was decided."""
        if not self._is_of_own_promotion():
            self._once(lambda folder: self._fill(folder, reason, None), {})

    def _is_of_own_promotion(self) -> bool:
        try:
            return tells_of_promotion(read_evidence(self.out), self.candidate.model.digest)
        except InputError:  # none there, or not whole
            return False

    def _once(self, build: Callable[[Path], Outcome], more_inputs: Mapping[str, str]) -> None:
        inputs = {"candidate": self.candidate.model.digest, "champion": self.champion.digest, **more_inputs}
        for arm in self.arms:
            inputs |= {
                f"{arm.name}.validation": payload_digest(arm.validation),
                f"{arm.name}.test": payload_digest(arm.test),
            }
        once(
            self.out,
            kind="promotion",
            recipe_hash=self.context.recipe_hash,
            seed=self.context.seed,
            inputs=inputs,
            progress=self.context.progress,
            build=build,
        )

    def _fill(self, folder: Path, reason: str, decision: Decision | None) -> Outcome:
        content = {
            "candidate": {"arm": self.candidate.name, "digest": self.candidate.model.digest},
            "champion": {"digest": self.champion.digest},
            "validation": {arm.name: accuracy(arm.validation) for arm in self.arms},
            "reason": reason,
            "decision": None if decision is None else decision.to_json(),
        }
        write_text(folder / DECISION, json.dumps(content, indent=2) + "\n")
        write_text(folder / PAGE, page(content))
        return Outcome(metrics={} if decision is None else {"gain": decision.gain, "p": decision.p})


def page(content: Mapping[str, Any]) -> str:
    """The decision for people; needs nothing from anywhere else."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("deepperception.promotion", "."), autoescape=True)
    return environment.get_template("decision.html.j2").render(evidence=content, decision=content["decision"])
