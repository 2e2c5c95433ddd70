"""`python -m benchmarks [NAME ...]`: prints a line a pair and writes build/bench.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import evaluation, grpo
from benchmarks.pairs import Pair

PAIRS: dict[str, Callable[[], Pair]] = {"evaluation_vs_one_by_one": evaluation.pair, "grpo_step_vs_trl": grpo.pair}
RESULTS = Path("build/bench.json")


def main(names: list[str]) -> int:
    if unknown := sorted(set(names) - PAIRS.keys()):
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(PAIRS)}.", file=sys.stderr)
        return 2
    results = []
    for name in names or PAIRS:
        result = PAIRS[name]().measure()
        results.append(result)
        verdict = "holds" if result["holds"] else "MISSED" if result["equal"] else "MISSED, the results differ"
        times = f"ours {result['ours']:.2f} s, peer {result['peer']:.2f} s"
        print(f"{name}: {result['ratio']:.1f} times ({times}; goal {result['goal']:g}): {verdict}", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result["holds"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
