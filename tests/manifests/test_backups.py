"""The scripts of backup and restore, run as the pods run them: with a real PostgreSQL, and a folder for the store."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "manifests" / "components" / "backups"
# Debian keeps the server's programs off the PATH.
SERVER = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []

# Of `mc` what the scripts use, with a folder as the store.
MC = """#!/bin/sh
set -eu
place() { case "$1" in store/*) echo "$STORE/${1#store/}" ;; *) echo "$1" ;; esac; }
case "$1" in
    cp) cp "$(place "$2")" "$(place "$3")" ;;
    find) find "$(place "$2")" -name "$4" ;;
    *) echo "the stand-in does not know $1" >&2; exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Mapping[str, str]]:
    """libpq's variables for an empty PostgreSQL of its own, on a socket in a folder."""
    if not SERVER:
        pytest.skip("PostgreSQL's server is not installed: a dump cannot be made or put back")
    # Not below pytest's folder: that one is closed to the account that PostgreSQL runs under, for root it does not.
    # Its path is too long for a socket's, besides.
    place = Path(tempfile.mkdtemp(prefix="postgres-"))
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    if account:
        os.chown(place, account.pw_uid, account.pw_gid)
    program, data = SERVER[-1], place / "data"

    def run(*command: str) -> None:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            cwd=place,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
        )

    run(str(program / "initdb"), f"--pgdata={data}", "--username=mlflow", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={place} -c fsync=off"
    run(
        str(program / "pg_ctl"), "start", f"--pgdata={data}", "--wait", f"--log={place / 'log'}", f"--options={options}"
    )
    variables = {"PGHOST": str(place), "PGUSER": "mlflow", "PGDATABASE": "mlflow"}
    try:
        psql({**variables, "PGDATABASE": "postgres"}, "create database mlflow")
        yield variables
    finally:
        run(str(program / "pg_ctl"), "stop", f"--pgdata={data}", "--wait", "--mode=immediate")
        shutil.rmtree(place)


def psql(variables: Mapping[str, str], command: str) -> str:
    line = ["psql", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--command", command]
    return subprocess.run(
        line, env={**os.environ, **variables}, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def store(tmp_path: Path) -> Mapping[str, str]:
    """The stand-in for `mc`, first on the PATH, and its empty bucket."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "store" / "backups").mkdir(parents=True)
    program = tmp_path / "bin" / "mc"
    program.write_text(MC)
    program.chmod(0o755)
    return {"STORE": str(tmp_path / "store"), "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def script(name: str, work: Path, *variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    work.mkdir(exist_ok=True)
    env = {**os.environ, "WORK": str(work)}
    for each in variables:
        env.update(each)
    return subprocess.run(["sh", str(SCRIPTS / name)], env=env, capture_output=True, text=True, check=False)


def test_what_was_backed_up_comes_back_and_what_came_later_goes(
    database: Mapping[str, str], store: Mapping[str, str], tmp_path: Path
) -> None:
    psql(database, "create table runs (id int primary key, name text); insert into runs values (1, 'first'), (2, 'é')")
    dumped = script("dump.sh", tmp_path / "a", database)
    assert dumped.returncode == 0, dumped.stderr
    assert "dumped 1 tables" in dumped.stdout
    assert script("upload.sh", tmp_path / "a", store).returncode == 0

    psql(database, "delete from runs where id = 1; insert into runs values (3, 'later'); create table newer (id int)")
    fetched = script("fetch.sh", tmp_path / "b", store)
    assert fetched.returncode == 0, fetched.stderr
    restored = script("restore.sh", tmp_path / "b", database)
    assert restored.returncode == 0, restored.stderr
    assert psql(database, "select string_agg(id || name, ',' order by id) from runs") == "1first,2é"
    assert psql(database, "select count(*) from pg_tables where tablename = 'newer'") == "0"


def test_a_restore_that_fails_changes_nothing(database: Mapping[str, str], tmp_path: Path) -> None:
    psql(database, "drop table if exists kept; create table kept (id int); insert into kept values (7)")
    assert script("dump.sh", tmp_path / "a", database).returncode == 0
    dump = tmp_path / "a" / "mlflow.dump"
    dump.write_bytes(dump.read_bytes()[: dump.stat().st_size // 2])
    assert script("restore.sh", tmp_path / "a", database).returncode != 0
    assert psql(database, "select id from kept") == "7"


def test_a_restore_refuses_a_database_in_use(database: Mapping[str, str], tmp_path: Path) -> None:
    assert script("dump.sh", tmp_path / "a", database).returncode == 0
    line = ["psql", "--quiet", "--no-align", "--tuples-only"]
    user = subprocess.Popen(
        line, env={**os.environ, **database}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdin is not None
    assert user.stdout is not None
    try:
        user.stdin.write("select 1;\n")
        user.stdin.flush()
        assert user.stdout.readline() == "1\n"  # it is connected
        refused = script("restore.sh", tmp_path / "a", database)
    finally:
        user.stdin.close()
        user.wait()
        user.stdout.close()
    assert refused.returncode == 1
    assert "in use by 1 connections; scale MLflow to zero first" in refused.stderr


def test_a_dump_that_cannot_be_made_uploads_nothing(database: Mapping[str, str], tmp_path: Path) -> None:
    assert script("dump.sh", tmp_path / "a", {**database, "PGDATABASE": "missing"}).returncode != 0


def backup(store: Mapping[str, str], name: str, content: str) -> None:
    """One that an upload at the time in its name would have left."""
    folder = Path(store["STORE"], "backups")
    (folder / name).write_text(content)
    summed = subprocess.run(["sha256sum", name], cwd=folder, check=True, capture_output=True, text=True).stdout
    (folder / f"{name}.sha256").write_text(summed)


def test_the_newest_whole_backup_is_taken_or_the_one_named(store: Mapping[str, str], tmp_path: Path) -> None:
    backup(store, "mlflow-20260101T000000Z.dump", "old")
    backup(store, "mlflow-20260201T000000Z.dump", "new")
    Path(store["STORE"], "backups", "mlflow-20260301T000000Z.dump").write_text("half")  # its upload was killed
    assert script("fetch.sh", tmp_path / "a", store).returncode == 0
    assert (tmp_path / "a" / "mlflow.dump").read_text() == "new"
    assert script("fetch.sh", tmp_path / "b", store, {"BACKUP": "mlflow-20260101T000000Z.dump"}).returncode == 0
    assert (tmp_path / "b" / "mlflow.dump").read_text() == "old"


def test_a_damaged_backup_is_not_taken(store: Mapping[str, str], tmp_path: Path) -> None:
    backup(store, "mlflow-20260101T000000Z.dump", "whole")
    Path(store["STORE"], "backups", "mlflow-20260101T000000Z.dump").write_text("bent")
    assert script("fetch.sh", tmp_path / "a", store).returncode != 0
    assert not (tmp_path / "a" / "mlflow.dump").exists()


def test_an_empty_store_is_told(store: Mapping[str, str], tmp_path: Path) -> None:
    told = script("fetch.sh", tmp_path / "a", store)
    assert (told.returncode, told.stderr) == (1, "there is no backup in the store\n")


def test_scripts_are_clean() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = sorted(str(path) for path in SCRIPTS.parent.rglob("*.sh"))
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
