"""Images in the registry's own layout, and the same through a real docker-registry where there is one."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import socket
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mlops_infra.lab.mirror.cache import Cache
from mlops_infra.lab.mirror.oci import MANIFEST_TYPE, Image, LayerFile, RegistryStore, layer_of_files, split_reference
from mlops_infra.lab.mirror.server import MirrorServer


def image(tmp_path: Path, reference: str = "registry.k8s.io/coredns/coredns:v1.11.3") -> Image:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF program")
    parts = [LayerFile(program, "/bin/program"), LayerFile(program, "/bin/link", link="program")]
    return Image(reference, (layer_of_files(parts, Cache(tmp_path / "cache"), "x"),), ("/bin/program",))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_reference_is_split_with_the_upstream_registry_first() -> None:
    where = split_reference("registry.k8s.io/coredns/coredns:v1.11.3")
    assert (where.registry, where.name, where.tag) == ("registry.k8s.io", "coredns/coredns", "v1.11.3")
    assert where.repository == "registry.k8s.io/coredns/coredns"


@pytest.mark.parametrize(
    "text", ["busybox:1", "library/busybox:1", "registry.k8s.io/pause", "registry.k8s.io:5000/pause"]
)
def test_a_reference_without_registry_or_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not registry/name:tag"):
        split_reference(text)


def test_the_layers_digests_are_those_of_its_packed_and_plain_bytes(tmp_path: Path) -> None:
    layer = image(tmp_path).layers[0]
    packed = layer.blob.read_bytes()
    assert layer.digest == "sha256:" + hashlib.sha256(packed).hexdigest()
    assert layer.diff_id == "sha256:" + hashlib.sha256(gzip.decompress(packed)).hexdigest()
    with tarfile.open(layer.blob) as tar:
        assert {member.name: (member.mtime, member.uid) for member in tar} == {
            "bin": (0, 0),
            "bin/program": (0, 0),
            "bin/link": (0, 0),
        }
        assert tar.getmember("bin/link").linkname == "program"


def test_the_same_files_make_the_same_image(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert image(tmp_path / "a").manifest() == image(tmp_path / "b").manifest()


def test_the_store_lists_what_was_put_and_drops_what_is_not_wanted(tmp_path: Path) -> None:
    store = RegistryStore(tmp_path / "registry")
    first, second = image(tmp_path), image(tmp_path, "quay.io/metallb/speaker:v0.14.8")
    store.put(first)
    store.put(second)
    assert store.references() == ("quay.io/metallb/speaker:v0.14.8", "registry.k8s.io/coredns/coredns:v1.11.3")
    store.drop_unless([second.reference])
    assert store.references() == ("quay.io/metallb/speaker:v0.14.8",)
    assert not store.has(first.reference)


@pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is not installed")
def test_a_real_registry_serves_the_image_and_takes_no_push(tmp_path: Path) -> None:
    mine = image(tmp_path)
    store = RegistryStore(tmp_path / "mirror" / "registry")
    digest = store.put(mine)
    (tmp_path / "mirror/files").mkdir()
    (tmp_path / "mirror/files/a").write_text("a file\n")
    (tmp_path / "mirror/private").mkdir()
    (tmp_path / "mirror/private/key").write_text("hidden\n")
    server = MirrorServer(tmp_path / "mirror", "127.0.0.1", files_port=free_port(), registry_port=free_port())
    server.start()
    try:
        pids = server.pids()
        server.start()
        assert server.pids() == pids, "a second start leaves running processes alone"
        base = f"{server.registry_url}/v2/registry.k8s.io/coredns/coredns"
        asked = urllib.request.Request(f"{base}/manifests/v1.11.3", headers={"Accept": MANIFEST_TYPE})
        with urllib.request.urlopen(asked) as reply:
            assert reply.headers["Docker-Content-Digest"] == digest
            manifest = json.load(reply)
        for blob in (*manifest["layers"], manifest["config"]):
            with urllib.request.urlopen(f"{base}/blobs/{blob['digest']}") as reply:
                assert "sha256:" + hashlib.sha256(reply.read()).hexdigest() == blob["digest"]
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(urllib.request.Request(f"{base}/blobs/uploads/", method="POST")).close()
        with urllib.request.urlopen(f"{server.files_url}/files/a") as reply:
            assert reply.read() == b"a file\n"
        for path in ("private/key", "", "run/registry.json", "files/../private/key", "files/%2e%2e/private/key"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{server.files_url}/{path}").close()
    finally:
        server.stop()
    assert not server.running()
    assert server.pids() == {}
