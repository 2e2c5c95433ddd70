"""Alerts and dashboard: files that other programs read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "manifests" / "components" / "monitoring"
RUNBOOK = ROOT / "docs" / "runbook"


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names))
    assert {path.stem for path in RUNBOOK.glob("*.md")} - {"README"} == set(names)
    index = (RUNBOOK / "README.md").read_text()
    for alert in alerts():
        assert alert["annotations"]["runbook_url"] == f"docs/runbook/{alert['alert']}.md"
        assert alert["annotations"]["summary"].endswith(".")
        assert f"]({alert['alert']}.md)" in index
        page = (RUNBOOK / f"{alert['alert']}.md").read_text()
        assert page.startswith(f"# {alert['alert']}\n")
        assert "**Means.**" in page
        assert "**Do.**" in page


def test_pages_link_to_pages_that_are_there() -> None:
    for page in RUNBOOK.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (RUNBOOK / target).is_file(), f"{page.name} links to {target}"


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    assert dashboard["uid"] == "deepperception"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


def test_the_servers_metric_is_one_that_it_serves() -> None:
    kserve = pytest.importorskip("kserve.metrics", reason="needs the serve extra")
    served = {metric.name for metric in kserve.PREDICT_HIST_TIME.collect()}
    texts = (MONITORING / "rules.yaml").read_text() + (MONITORING / "dashboard.json").read_text()
    named = set(re.findall(r"\brequest_\w+_seconds(?=_)", texts))
    assert named
    assert named <= served


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(MONITORING / "rules.yaml")),
        ("test", "rules", str(Path(__file__).with_name("alerts.test.yaml"))),
    ],
    ids=["Prometheus reads the rules", "they fire when they should"],
)
def test_the_rules(arguments: tuple[str, ...]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: Prometheus cannot be asked about the rules")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
