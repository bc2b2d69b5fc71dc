"""The flat repository: index, signature, and what apt would make of it."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from mlops_infra.lab.mirror.apt_repository import FlatRepository, SigningKey, check_repository, packages_index
from mlops_infra.lab.mirror.deb import Deb, DebFile
from mlops_infra.lab.mirror.progress import MirrorError
from mlops_infra.lab.mirror.upstream_apt import parse_index, verified_text

needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    made = SigningKey(tmp_path_factory.mktemp("k") / ("long" * 30) / "gnupg")
    made.ensure()
    return made


def deb(directory: Path, name: str, version: str = "1") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return Deb(name, version, f"about {name}", (DebFile(f"/usr/share/{name}", name.encode()),)).write(directory)


def test_the_index_names_each_package_with_its_size_and_digest(tmp_path: Path) -> None:
    path = deb(tmp_path, "one")
    deb(tmp_path, "two", "1:2-3")
    index = packages_index(tmp_path)
    found = {one.name: one for one in parse_index(index)}
    assert set(found) == {"one", "two"}
    assert found["one"].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["two"].filename == "./two_1%3a2-3_amd64.deb"
    assert f"Size: {path.stat().st_size}\n" in index
    assert all(
        paragraph.strip().splitlines()[-1].startswith("Description:") for paragraph in index.strip().split("\n\n")
    )


@needs_gpg
def test_release_names_the_digests_of_the_indices_and_is_signed(tmp_path: Path, key: SigningKey) -> None:
    repository = FlatRepository(tmp_path / "apt", "trixie")
    repository.fill([deb(tmp_path / "in", "one")])
    repository.sign(key)
    signed = (repository.directory / "InRelease").read_bytes()
    text = verified_text(signed, key.armoured(), key.ensure(), "here")
    for name in ("Packages", "Packages.gz"):
        digest = hashlib.sha256((repository.directory / name).read_bytes()).hexdigest()
        assert re.search(rf"^ {digest} +\d+ {re.escape(name)}$", text, re.M)


@needs_gpg
def test_a_changed_release_or_another_key_is_refused(tmp_path: Path, key: SigningKey) -> None:
    signed = key.clearsign(b"Origin: here\n")
    with pytest.raises(MirrorError, match="could not verify the signature"):
        verified_text(signed.replace(b"here", b"there"), key.armoured(), key.ensure(), "a")
    with pytest.raises(MirrorError, match="not signed by the pinned key"):
        verified_text(signed, key.armoured(), "A" * 40, "a")


@needs_gpg
def test_filling_again_takes_away_what_is_no_longer_wanted(tmp_path: Path, key: SigningKey) -> None:
    repository = FlatRepository(tmp_path / "apt", "trixie")
    one, two = deb(tmp_path / "in", "one"), deb(tmp_path / "in", "two")
    repository.fill([one, two])
    repository.sign(key)
    repository.fill([two])
    repository.sign(key)
    assert repository.packages() == ("two_1_amd64.deb",)
    assert "Package: one" not in (repository.directory / "Packages").read_text()
    assert repository.has("two")
    assert not repository.has("one")


@needs_gpg
def test_a_second_run_without_a_change_leaves_the_signed_files_alone(tmp_path: Path, key: SigningKey) -> None:
    repository = FlatRepository(tmp_path / "apt", "trixie")
    repository.fill([deb(tmp_path / "in", "one")])
    repository.sign(key)
    before = (repository.directory / "InRelease").stat().st_mtime_ns
    repository.sign(key)
    assert (repository.directory / "InRelease").stat().st_mtime_ns == before


@needs_gpg
def test_a_package_cut_short_is_found(tmp_path: Path, key: SigningKey) -> None:
    repository = FlatRepository(tmp_path / "apt", "trixie")
    repository.fill([deb(tmp_path / "in", "one")])
    repository.sign(key)
    check_repository(repository.directory)
    (repository.directory / "one_1_amd64.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(MirrorError, match="cut short"):
        check_repository(repository.directory)
