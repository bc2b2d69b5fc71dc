"""A bundle that was changed anywhere, cut anywhere, or is not ours, is refused in words that say which."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest
from backup_site import CA, bundle_tar, manifest_of, snapshot, tar_of

from mlops_infra.app.backup_bundle import BundleError, Identity, read_manifest, verify

KEY = pyrage.x25519.Identity.generate()
HERE = Identity("demo", CA)


def bundle(path: Path, tar: bytes | None = None) -> Path:
    path.write_bytes(pyrage.encrypt(tar if tar is not None else bundle_tar(), [KEY.to_public()]))
    return path


def test_a_whole_bundle_tells_what_it_holds(tmp_path: Path) -> None:
    manifest = verify(bundle(tmp_path / "b"), [KEY], HERE)
    assert manifest.cluster == HERE
    assert manifest.etcd["live_keys"] == 333
    assert set(manifest.files) == {"etcd/snapshot.db", "hosts/m2/etc/kubernetes/pki/ca.key"}


def test_its_manifest_is_read_without_the_rest(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    path.write_bytes(path.read_bytes()[:-1000])
    assert read_manifest(path, [KEY]).host == "m2"


def test_a_flipped_byte_anywhere_is_found(tmp_path: Path) -> None:
    whole = bundle(tmp_path / "b").read_bytes()
    assert len(whole) > 3 * 65536, "several chunks of age"
    for place in [*range(0, 260, 7), *range(300, len(whole), 9973), len(whole) - 1]:
        (tmp_path / "c").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BundleError, match=r"damaged|cannot be opened"):
            verify(tmp_path / "c", [KEY], HERE)


@pytest.mark.parametrize("left", [0, 1, 100, 200, 65536, 65752, 150_000, -17, -1])
def test_a_cut_file_is_found(tmp_path: Path, left: int) -> None:
    whole = bundle(tmp_path / "b").read_bytes()
    (tmp_path / "c").write_bytes(whole[:left])
    with pytest.raises(BundleError, match="damaged"):
        verify(tmp_path / "c", [KEY], HERE)


def test_bytes_behind_its_end_are_found(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(BundleError, match="damaged"):
        verify(path, [KEY])


def test_a_wrong_key_is_called_one(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    with pytest.raises(BundleError, match="cannot be opened with this key") as caught:
        verify(path, [pyrage.x25519.Identity.generate()])
    assert "--key" in caught.value.remedy


def test_something_else_is_no_backup(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"PK\x03\x04 a zip file" * 100)
    with pytest.raises(BundleError, match="is no backup"):
        verify(tmp_path / "b", [KEY])


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        verify(tmp_path / "none", [KEY])


def test_another_clusters_bundle_is_refused_by_name_and_by_ca(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="another cluster: other, not demo"):
        verify(bundle(tmp_path / "b", bundle_tar(cluster="other")), [KEY], HERE)
    with pytest.raises(BundleError, match="another cluster that was called demo too"):
        verify(bundle(tmp_path / "b", bundle_tar(ca="f" * 64)), [KEY], HERE)
    assert verify(tmp_path / "b", [KEY], Identity("demo", None)).cluster.ca_sha256 == "f" * 64


def replaced(tar: bytes, old: bytes, new: bytes) -> bytes:
    assert tar.count(old) >= 1
    return tar.replace(old, new)


def test_files_are_compared_with_the_manifest(tmp_path: Path) -> None:
    """As where somebody with the public key has put another tar together."""
    tar = bundle_tar({"etcd/snapshot.db": snapshot(), "a": b"content"})
    for wrong, said in (
        (replaced(tar, b"content", b"CONTENT"), "a is not what was put in"),
        (replaced(tar, b'"path": "a"', b'"path": "b"'), "not in its manifest"),
        (bundle_tar({"a": b"x"}), "no snapshot"),
        (bundle_tar({"etcd/snapshot.db": snapshot()[:-1] + b"!"}), "own checksum"),
        (bundle_tar({"etcd/snapshot.db": snapshot()[512:]}), "own checksum"),
        (b"", "damaged"),
        (b"\0" * 10240, "begin with a manifest"),
    ):
        with pytest.raises(BundleError, match=said):
            verify(bundle(tmp_path / "b", wrong), [KEY], HERE)


def test_a_file_of_the_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    manifest_entry = b'"path": "a"'
    both = bundle_tar({"etcd/snapshot.db": snapshot(), "a": b"content"})
    alone = tar_of({"manifest.json": manifest_of(both), "etcd/snapshot.db": snapshot()})
    assert manifest_entry in alone
    with pytest.raises(BundleError, match="missing: a"):
        verify(bundle(tmp_path / "b", alone), [KEY])


def test_a_format_of_the_future_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="format 2"):
        verify(bundle(tmp_path / "b", bundle_tar(format=2)), [KEY])
