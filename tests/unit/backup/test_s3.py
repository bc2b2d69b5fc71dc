"""Copies in a bucket of a real S3-compatible store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_store import ACCESS, SECRET, Store, store

from mlops_infra.app.backup_s3 import Bucket
from mlops_infra.core import Secret
from mlops_infra.errors import InfraError
from mlops_infra.model.backup import S3Place

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with store(tmp_path_factory.mktemp("s3")) as made:
        yield made


def place(running: Store, **more: str) -> S3Place:
    return S3Place.model_validate(
        {"endpoint": running.endpoint, "bucket": "bundles", "prefix": "site/", "access_key": ACCESS,
         "secret_key": SECRET, **more}
    )  # fmt: skip


@pytest.fixture
def bucket(running: Store) -> Bucket:
    made = Bucket("vault", place(running), Secret(ACCESS), Secret(SECRET), Path())
    if not (running.root / "bundles").exists():
        made._client.create_bucket(Bucket="bundles")
    return made


def put(bucket: Bucket, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    bucket.put(path, hashlib.sha256(content).hexdigest())


def test_what_is_put_there_is_listed_fetched_and_removed(bucket: Bucket, running: Store, tmp_path: Path) -> None:
    content = b"a bundle" * 1000
    put(bucket, tmp_path / "demo-20260102T030405Z.tar.age", content)
    put(bucket, tmp_path / "demo-20260103T030405Z.tar.age", b"another")
    assert sorted(bucket.names()) == [
        ("demo-20260102T030405Z.tar.age", len(content)), ("demo-20260103T030405Z.tar.age", 7),
    ]  # fmt: skip
    assert (running.root / "bundles/site/demo-20260102T030405Z.tar.age").read_bytes() == content
    bucket.get("demo-20260102T030405Z.tar.age", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    bucket.remove(["demo-20260102T030405Z.tar.age", "demo-20260103T030405Z.tar.age"])
    assert bucket.names() == []


def test_a_large_bundle_goes_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    content = bytes(range(256)) * (20 * 4096)
    put(bucket, tmp_path / "demo-20260104T030405Z.tar.age", content)
    bucket.get("demo-20260104T030405Z.tar.age", tmp_path / "back")
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(content).digest()
    bucket.remove(["demo-20260104T030405Z.tar.age"])


def test_a_wrong_key_is_told_as_one_and_is_not_in_the_words(running: Store, bucket: Bucket, tmp_path: Path) -> None:
    wrong = Bucket("vault", place(running), Secret(ACCESS), Secret("not-the-secret"), Path())
    with pytest.raises(InfraError) as refused:
        put(wrong, tmp_path / "demo-20260102T030405Z.tar.age", b"x")
    assert "keys are wrong" in refused.value.cause
    assert "not-the-secret" not in repr(vars(refused.value))


def test_a_bucket_that_is_not_there_and_a_store_that_is_down_are_told_apart(running: Store) -> None:
    none = Bucket("vault", place(running, bucket="nowhere"), Secret(ACCESS), Secret(SECRET), Path())
    with pytest.raises(InfraError) as refused:
        none.names()
    assert "no such bucket" in refused.value.cause
    down = Bucket("vault", place(running, endpoint="http://127.0.0.1:9"), Secret(ACCESS), Secret(SECRET), Path())
    with pytest.raises(InfraError) as refused:
        down.names()
    assert "down or out of reach" in refused.value.cause
