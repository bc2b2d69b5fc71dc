"""The path from the public homes, driven against a local server with the same layout of URLs."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.lab.mirror import upstream
from mlops_infra.lab.mirror.apt_repository import SigningKey, packages_index
from mlops_infra.lab.mirror.build import build_mirror, ensure_built
from mlops_infra.lab.mirror.deb import Deb, DebFile
from mlops_infra.lab.mirror.homes import Homes
from mlops_infra.lab.mirror.oci import RegistryStore
from mlops_infra.lab.mirror.progress import MirrorError
from mlops_infra.lab.mirror.upstream_apt import IndexedPackage, pick
from mlops_infra.lab.mirror.upstream_registry import RegistryClient
from mlops_infra.lab.mirror.versions import MirrorPlan
from mlops_infra.render.catalogue import Artifact

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")

LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
TOKEN = "only-for-this-repository"
HOSTS = ("pkgs.k8s.io", "download.docker.com", "registry.k8s.io", "ghcr.io", "raw.githubusercontent.com")


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass
class Upstream:
    """Every public home behind one address; the first part of the path is the host."""

    documents: dict[str, bytes] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    base: str = ""

    def put(self, path: str, content: bytes, kind: str = "application/octet-stream") -> None:
        self.documents[path], self.kinds[path] = content, kind

    @property
    def homes(self) -> Homes:
        return Homes({f"https://{host}": f"{self.base}/{host}" for host in HOSTS})

    def image(self, registry: str, name: str, tag: str) -> bytes:
        """An image for two platforms; only linux/amd64 has layers here."""
        base = f"/{registry}/v2/{name}"
        config, layer = json.dumps({"name": name}).encode(), f"layer of {name}".encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"digest": digest(config), "size": len(config)},
                "layers": [{"digest": digest(layer), "size": len(layer)}],
            }
        ).encode()
        entries = [
            {"digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "arm64"}},
            {"digest": digest(manifest), "platform": {"os": "linux", "architecture": "amd64"}},
        ]
        index = json.dumps({"schemaVersion": 2, "mediaType": LIST, "manifests": entries}).encode()
        self.put(f"{base}/manifests/{tag}", index, LIST)
        self.put(f"{base}/manifests/{digest(manifest)}", manifest, MANIFEST)
        for blob in (config, layer):
            self.put(f"{base}/blobs/{digest(blob)}", blob)
        return index


def handler_for(site: Upstream) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            site.asked.append(path)
            authorization = self.headers.get("Authorization", "")
            if path.startswith("/store"):
                site.leaked += [authorization] if authorization else []
                return self.document(path.removeprefix("/store"))
            if "/v2/" in path and authorization != f"Bearer {TOKEN}":
                realm = f'Bearer realm="{site.base}/token",service="here",scope="repository:x:pull"'
                return self.answer(401, b"", {"WWW-Authenticate": realm})
            if path == "/token":
                return self.answer(200, json.dumps({"token": TOKEN}).encode(), {})
            if "/blobs/" in path:
                return self.answer(307, b"", {"Location": f"{site.base}/store{path}"})
            return self.document(path)

        def document(self, path: str) -> None:
            if path not in site.documents:
                return self.answer(404, b"nothing here", {})
            return self.answer(200, site.documents[path], {"Content-Type": site.kinds[path]})

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler


@pytest.fixture
def site() -> Iterator[Upstream]:
    made = Upstream()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_for(made)) as server:
        made.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SigningKey]:
    made = SigningKey(tmp_path_factory.mktemp("k") / "gnupg")
    made.ensure()
    yield made


def release(parts: dict[str, bytes]) -> bytes:
    lines = [f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}" for name, content in parts.items()]
    return ("Origin: test\nSHA256:\n" + "\n".join(lines) + "\n").encode()


def debs(directory: Path, *named: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for pair in named:
        name, version = pair.split("=")
        Deb(name, version, name, (DebFile(f"/usr/bin/{name}", name.encode()),)).write(directory)
    return directory


@pytest.fixture
def world(site: Upstream, key: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """The public homes of a small platform: kubernetes 1.31.4, containerd 1.7.27, flannel."""
    monkeypatch.setattr(upstream, "KUBERNETES_FINGERPRINT", key.ensure())
    monkeypatch.setattr(upstream, "DOCKER_FINGERPRINT", key.ensure())
    debian = debs(tmp_path / "debian", "haproxy=3.0")
    monkeypatch.setattr(upstream, "closure", lambda *_: debian)
    manifest = b"kind: DaemonSet\n"
    public = "https://raw.githubusercontent.com/x/v0.26.7/kube-flannel.yml"
    pinned = Artifact(
        "flannel", "0.26.7", public, hashlib.sha256(manifest).hexdigest(), "flannel/v0.26.7/kube-flannel.yml"
    )
    monkeypatch.setattr(upstream, "artifact", lambda *_: pinned)
    site.put("/raw.githubusercontent.com/x/v0.26.7/kube-flannel.yml", manifest)

    kubernetes = debs(
        tmp_path / "kubernetes", "kubelet=1.31.3-1.1", "kubelet=1.31.4-1.1", "kubeadm=1.31.4-1.1", "kubectl=1.31.4-1.1",
        "cri-tools=1.31.0-1.1", "cri-tools=1.31.1-1.1", "kubernetes-cni=1.5.1-1.1",
    )  # fmt: skip
    root = "/pkgs.k8s.io/core:/stable:/v1.31/deb"
    index = packages_index(kubernetes).replace("Filename: ./", "Filename: amd64/").encode()
    site.put(f"{root}/Packages", index)
    site.put(f"{root}/InRelease", key.clearsign(release({"Packages": index})))
    site.put(f"{root}/Release.key", key.armoured())
    for deb in kubernetes.glob("*.deb"):
        site.put(f"{root}/amd64/{deb.name}", deb.read_bytes())

    docker = debs(tmp_path / "docker", "containerd.io=1.7.26-1", "containerd.io=1.7.27-1")
    root = "/download.docker.com/linux/debian"
    where = "dists/trixie/pool/stable/amd64"
    packed = gzip.compress(packages_index(docker).replace("Filename: ./", f"Filename: {where}/").encode())
    site.put(f"{root}/gpg", key.armoured())
    site.put(f"{root}/dists/trixie/stable/binary-amd64/Packages.gz", packed)
    signed = key.clearsign(release({"stable/binary-amd64/Packages.gz": packed}))
    site.put(f"{root}/dists/trixie/InRelease", signed)
    for deb in docker.glob("*.deb"):
        site.put(f"{root}/{where}/{deb.name}", deb.read_bytes())
    for reference in plan().images:
        registry, _, rest = reference.partition("/")
        name, _, tag = rest.rpartition(":")
        site.image(registry, name, tag)
    return site


def plan() -> MirrorPlan:
    return MirrorPlan(components=frozenset({"kubernetes", "containerd", "flannel"}), codenames=("trixie",))


def test_a_mirror_is_filled_from_the_public_homes_and_notes_what_it_got(world: Upstream, tmp_path: Path) -> None:
    facts = build_mirror(tmp_path / "lab" / "mirror", None, "upstream", plan(), world.homes)
    assert facts.source == "upstream"
    assert set(facts.images) == set(plan().images)
    assert facts.files == ("flannel/v0.26.7/kube-flannel.yml",)
    assert "cri-tools_1.31.1-1.1_amd64.deb" in facts.packages["trixie"]
    assert "containerd.io_1.7.27-1_amd64.deb" in facts.packages["trixie"]
    assert "kubelet_1.31.3-1.1_amd64.deb" not in facts.packages["trixie"]
    lock = {one["what"]: one for one in json.loads((facts.directory / "lock.json").read_text())}
    kubelet = lock["package kubelet_1.31.4-1.1_amd64.deb"]
    stored = facts.directory / "apt/trixie/kubelet_1.31.4-1.1_amd64.deb"
    assert kubelet["sha256"] == hashlib.sha256(stored.read_bytes()).hexdigest()
    assert kubelet["url"] == "https://pkgs.k8s.io/core:/stable:/v1.31/deb/amd64/kubelet_1.31.4-1.1_amd64.deb"
    assert "sha256 pinned" in lock["file flannel/v0.26.7/kube-flannel.yml"]["vouched_for_by"]


def test_a_finished_mirror_is_not_filled_again(world: Upstream, tmp_path: Path) -> None:
    made = build_mirror(tmp_path / "lab" / "mirror", None, "upstream", plan(), world.homes)
    world.asked.clear()
    assert ensure_built(made.directory, None, "auto", plan()) == made
    assert world.asked == []


def test_a_broken_run_goes_on_without_fetching_again_what_it_has(world: Upstream, tmp_path: Path) -> None:
    missing = f"/registry.k8s.io/v2/kube-proxy/manifests/v{plan().versions.kubernetes}"
    kept = world.documents.pop(missing)
    with pytest.raises(MirrorError, match=r"no kube-proxy:v1\.31\.4"):
        build_mirror(tmp_path / "lab" / "mirror", None, "upstream", plan(), world.homes)
    assert not (tmp_path / "lab/mirror/mirror.json").exists()
    world.put(missing, kept, LIST)
    world.asked.clear()
    build_mirror(tmp_path / "lab" / "mirror", None, "upstream", plan(), world.homes)
    fetched = [path for path in world.asked if path.endswith(".deb") or path.startswith("/store")]
    assert all("kube-proxy" in path or "pause" in path or "ghcr.io" in path for path in fetched), fetched


def test_a_package_that_differs_from_its_index_is_refused(world: Upstream, tmp_path: Path) -> None:
    world.put("/pkgs.k8s.io/core:/stable:/v1.31/deb/amd64/kubelet_1.31.4-1.1_amd64.deb", b"!<arch>\nsomething else")
    with pytest.raises(MirrorError, match="not what its index promises"):
        build_mirror(tmp_path / "lab" / "mirror", None, "upstream", plan(), world.homes)


def test_an_index_that_differs_from_its_release_is_refused(world: Upstream, tmp_path: Path) -> None:
    world.put("/pkgs.k8s.io/core:/stable:/v1.31/deb/Packages", b"Package: evil\n")
    with pytest.raises(MirrorError, match="not the one that InRelease names"):
        build_mirror(tmp_path / "lab" / "mirror", None, "upstream", plan(), world.homes)


def test_a_repository_signed_by_another_key_is_refused(
    world: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "KUBERNETES_FINGERPRINT", "A" * 40)
    with pytest.raises(MirrorError, match="not signed by the pinned key"):
        build_mirror(tmp_path / "lab" / "mirror", None, "upstream", plan(), world.homes)


def test_an_image_keeps_the_digest_of_its_index_and_brings_amd64_only(site: Upstream, tmp_path: Path) -> None:
    index = site.image("registry.k8s.io", "pause", "3.10")
    store = RegistryStore(tmp_path / "registry")
    client = RegistryClient(site.homes, tmp_path / "downloads")
    assert client.mirror("registry.k8s.io/pause:3.10", store) == digest(index)
    revisions = tmp_path / "registry/docker/registry/v2/repositories/registry.k8s.io/pause/_manifests/revisions/sha256"
    assert len(list(revisions.iterdir())) == 2
    assert not any("0" * 64 in path for path in site.asked)


def test_a_registrys_token_is_not_sent_on_to_where_its_blobs_lie(site: Upstream, tmp_path: Path) -> None:
    site.image("registry.k8s.io", "pause", "3.10")
    client = RegistryClient(site.homes, tmp_path / "downloads")
    client.mirror("registry.k8s.io/pause:3.10", RegistryStore(tmp_path / "registry"))
    assert any(path.startswith("/store") for path in site.asked)
    assert site.leaked == []


def test_a_layer_that_is_not_its_digest_is_refused_and_not_kept(site: Upstream, tmp_path: Path) -> None:
    site.image("registry.k8s.io", "pause", "3.10")
    for path in [path for path in site.documents if "/blobs/" in path]:
        site.put(path, b"something else")
    store = RegistryStore(tmp_path / "registry")
    with pytest.raises(MirrorError, match="not what its index promises"):
        RegistryClient(site.homes, tmp_path / "downloads").mirror("registry.k8s.io/pause:3.10", store)
    assert store.references() == ()
    assert not list((tmp_path / "downloads").rglob("blob"))


def test_an_unreachable_home_is_said_with_the_way_around_it(tmp_path: Path) -> None:
    homes = Homes({"https://registry.k8s.io": "http://127.0.0.1:1"})
    with pytest.raises(MirrorError) as caught:
        RegistryClient(homes, tmp_path).mirror("registry.k8s.io/pause:3.10", RegistryStore(tmp_path / "r"))
    assert "--from source" in caught.value.remedy


def test_a_home_is_replaced_by_whole_parts_of_its_url_only() -> None:
    homes = Homes({"https://k8s.io": "http://proxy/k", "https://k8s.io/special": "http://other/s"})
    assert homes.url("https://k8s.io/a") == "http://proxy/k/a"
    assert homes.url("https://k8s.io/special/a") == "http://other/s/a"
    assert homes.url("https://k8s.io.example/a") == "https://k8s.io.example/a"


def test_the_newest_revision_of_the_wanted_version_is_picked() -> None:
    def offer(version: str, architecture: str = "amd64") -> IndexedPackage:
        return IndexedPackage("kubelet", version, architecture, "f", "0" * 64)

    offered = [offer("1.31.4-1.1"), offer("1.31.4-1.10"), offer("1.31.40-1.1"), offer("1.31.4-9", "arm64")]
    assert pick(offered, "kubelet", "1.31.4").version == "1.31.4-1.10"
    assert pick(offered, "kubelet").version == "1.31.40-1.1"
    with pytest.raises(MirrorError) as caught:
        pick(offered, "kubelet", "1.30.0")
    assert "1.31.40-1.1" in caught.value.details
