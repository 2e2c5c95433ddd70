"""The buckets and their users: the script with a stand-in for `mc`, and the policies as they are."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from deepperception.platform.deploy.secrets import BUCKETS

MINIO = Path(__file__).resolve().parents[2] / "manifests" / "components" / "minio"

# Records its arguments and what it is sent, and answers what the script asks.
MC = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
case "$1 $2 $3" in
    "admin user add") cat >>"$SENT" ;;
    "admin user info") echo "PolicyName: $5" ;;
    "admin policy attach") exit "${ATTACH_FAILS:-0}" ;;
    "ilm rule ls") cat "$RULES" ;;
    "ilm rule add") echo "30 days" >>"$RULES" ;;
esac
"""


def run(place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    (place / "bin").mkdir(exist_ok=True)
    program = place / "bin" / "mc"
    program.write_text(MC)
    program.chmod(0o755)
    keys = place / "keys"
    keys.mkdir(exist_ok=True)
    for bucket in BUCKETS:
        (keys / f"{bucket}-access-key").write_text(bucket)
        (keys / f"{bucket}-secret-key").write_text(f"secret-of-{bucket}")
    (place / "rules").touch()
    files = {
        "CALLS": place / "calls",
        "SENT": place / "sent",
        "RULES": place / "rules",
        "KEYS": keys,
        "SETUP": MINIO / "policies",
    }
    env = {**os.environ, **{name: str(path) for name, path in files.items()}, **variables}
    env["PATH"] = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(["sh", str(MINIO / "setup.sh")], env=env, capture_output=True, text=True, check=False)


def test_each_bucket_gets_its_user_and_its_policy_and_no_secret_is_an_argument(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text()
    for bucket in BUCKETS:
        assert f"mb --ignore-existing store/{bucket}\n" in calls
        assert f"admin policy create store {bucket} {MINIO / 'policies' / bucket}.json\n" in calls
        assert f"admin policy attach store {bucket} --user {bucket}\n" in calls
        assert f"{bucket}\nsecret-of-{bucket}\n" in (tmp_path / "sent").read_text()
    assert "secret-of" not in calls


def test_run_again_it_ends_well_and_adds_no_second_rule(tmp_path: Path) -> None:
    assert run(tmp_path).returncode == 0
    assert run(tmp_path, ATTACH_FAILS="1").returncode == 0, "attaching what is attached is an error of mc"
    assert (tmp_path / "calls").read_text().count("ilm rule add") == 1


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_user_has_rights_on_its_own_bucket_alone(bucket: str) -> None:
    policy = json.loads((MINIO / "policies" / f"{bucket}.json").read_text())
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert set(statement["Resource"]) <= {f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"}
        assert not [action for action in statement["Action"] if "*" in action]


def test_who_writes_backups_cannot_delete_them() -> None:
    assert "Delete" not in (MINIO / "policies" / "backups.json").read_text()
