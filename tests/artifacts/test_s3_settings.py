"""The `s3` section and what the environment says in its place."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import yaml

from deepperception.artifacts import S3Settings, open_store
from deepperception.artifacts.s3_settings import credentials
from deepperception.errors import InputError
from deepperception.infra import Infra, load_infra
from deepperception.progress import Progress


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "SSL_", "XDG_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def with_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")


def infra_file(tmp_path: Path, s3: object) -> Path:
    content = {"work_dir": "{out}/work", "store": "s3://models/store", "tracking_uri": "http://mlflow:5000", "s3": s3}
    path = tmp_path / "infra.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_an_infra_file_has_the_section(tmp_path: Path) -> None:
    section = {"endpoint": "https://minio.example:9000/", "region": "eu", "path_style": False, "ca_file": "/ca.pem"}
    infra = load_infra(infra_file(tmp_path, section), tmp_path)
    assert infra.s3 == S3Settings(
        endpoint="https://minio.example:9000", region="eu", path_style=False, ca_file=Path("/ca.pem")
    )
    assert Infra.from_json(infra.to_json()) == infra
    assert load_infra(infra_file(tmp_path, None), tmp_path).s3 is None


def test_the_cache_may_be_in_the_runs_folder(tmp_path: Path) -> None:
    file = infra_file(tmp_path, {"endpoint": "http://minio:9000", "cache_dir": "{out}/cache"})
    s3 = load_infra(file, tmp_path / "run").s3
    assert s3 is not None and s3.cache_dir == tmp_path / "run" / "cache"
    with pytest.raises(
        InputError, match=r"s3\.cache_dir: the place depends on the run's folder; give it with --out DIR"
    ):
        load_infra(infra_without_out(file))


def infra_without_out(file: Path) -> Path:
    """The same file, whose other places depend on nothing."""
    file.write_text(file.read_text().replace("'{out}/work'", "/work"))
    return file


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"endpoint": "minio:9000"}, "s3.endpoint: value error, expected http://HOST:PORT"),
        ({"endpoint": "http://user:key@minio:9000"}, "expected http://HOST:PORT"),
        ({"endpoint": "http://minio:9000/bucket"}, "with nothing after it"),
        ({"endpoint": "http://minio", "patience_s": 900}, "less than or equal to 840"),
        ({"endpoint": "http://minio", "part_mib": 1}, "greater than or equal to 5"),
        ({"endpoint": "http://minio", "pathstyle": True}, "unknown key 's3.pathstyle'; did you mean 'path_style'?"),
        ({"endpoint": "http://minio", "secret_key": "x"}, "unknown key 's3.secret_key'"),
    ],
)
def test_a_wrong_section_is_one_sentence(tmp_path: Path, section: object, message: str) -> None:
    with pytest.raises(InputError) as told:
        load_infra(infra_file(tmp_path, section), tmp_path)
    assert message in str(told.value)


def test_the_environment_says_where_the_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no S3 endpoint is known; give s3.endpoint .* AWS_ENDPOINT_URL"):
        S3Settings.from_environment()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://general")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "north")
    assert S3Settings.from_environment() == S3Settings(endpoint="http://general", region="north")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://special")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/ca.pem")
    assert S3Settings.from_environment() == S3Settings(
        endpoint="https://special", region="north", ca_file=Path("/ca.pem")
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "special")
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL: endpoint: value error, expected http://HOST:PORT"):
        S3Settings.from_environment()


def test_credentials_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="lacks AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        credentials()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    with pytest.raises(InputError, match="lacks AWS_SECRET_ACCESS_KEY"):
        credentials()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    assert "the-secret" not in repr(credentials())
    with pytest.raises(InputError, match="lacks AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", " ")
        credentials()


@pytest.mark.usefixtures("with_key")
@pytest.mark.parametrize(
    ("uri", "settings", "message"),
    [
        ("s3://", {}, "this cannot be a bucket"),
        ("s3://UPPER/store", {}, "this cannot be a bucket"),
        ("s3://models/store", {"ca_file": "/no/such.pem"}, "/no/such.pem: there is no such file; give the PEM"),
        ("s3://models/store", {"region": "not a region"}, "this cannot be an S3 endpoint"),
    ],
)
def test_what_cannot_be_right_is_told_before_the_server_is_asked(
    uri: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_store(uri, S3Settings(endpoint="http://127.0.0.1:1", **settings), Progress("", io.StringIO()))


def test_without_a_key_no_store_is_opened() -> None:
    with pytest.raises(InputError, match="the environment lacks AWS_ACCESS_KEY_ID"):
        open_store("s3://models/store", S3Settings(endpoint="http://127.0.0.1:1"))


def test_copies_are_kept_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = S3Settings(endpoint="http://minio")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.cache_folder() == tmp_path / ".cache" / "deepperception" / "store"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert settings.cache_folder() == Path("/var/cache/deepperception/store")
    assert settings.model_copy(update={"cache_dir": Path("/work/cache")}).cache_folder() == Path("/work/cache")
