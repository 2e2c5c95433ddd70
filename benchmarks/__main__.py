"""`python -m benchmarks [NAME ...]`: prints a line a pair and writes build/bench.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import composition, evaluation, grpo, leakage, parsers, scoring, serving
from benchmarks.pairs import Measured

PAIRS: dict[str, Callable[[], Measured]] = {
    "evaluation_vs_one_by_one": evaluation.pair,
    "grpo_step_vs_trl": grpo.pair,
    "scoring_1336": scoring.kvg,
    "scoring_1m": scoring.million,
    "parser_fuzz": parsers.fuzz,
    "parser_megabyte": parsers.length,
    "composition_vs_jpeg_limit": composition.pair,
    "leakage_found_vs_planted": leakage.pair,
    "serving_vs_engine": serving.against_engine,
    "serving_vs_one_by_one": serving.against_one_by_one,
}
_ON_EVERY_LINE = ("name", "ours", "peer", "ratio", "goal", "holds")
RESULTS = Path("build/bench.json")


def main(names: list[str]) -> int:
    if unknown := sorted(set(names) - PAIRS.keys()):
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(PAIRS)}.", file=sys.stderr)
        return 2
    results = []
    for name in names or PAIRS:
        result = PAIRS[name]().measure()
        results.append(result)
        print(f"{name}: {_told(result)}", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result["holds"] for result in results) else 1


def _told(result: dict[str, Any]) -> str:
    verdict = "holds" if result["holds"] else "MISSED" if result.get("equal", True) else "MISSED, the results differ"
    if result["peer"] is None:
        more = {key: value for key, value in result.items() if key not in _ON_EVERY_LINE}
        stated = ", ".join(f"{key} {value}" for key, value in more.items())
        return f"{result['ours']:.2f} s ({stated}; goal {result['goal']:g} s): {verdict}"
    told = result.get("told") or f"ours {result['ours']:.2f} s, peer {result['peer']:.2f} s"
    return f"{result['ratio']:.2f} times ({told}; goal {result['goal']:g}): {verdict}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
