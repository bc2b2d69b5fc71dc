"""A mirror filled from the public homes of its artifacts, each checked by the best means that its home offers.

Release files are pinned by sha256 in the catalogue; packages are vouched for by their repository's signing key, whose
fingerprint is pinned; images by the digests in their manifests. What was got is written to lock.json.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from mlops_infra.errors import InfraError
from mlops_infra.lab.mirror.cache import sha256_file
from mlops_infra.lab.mirror.debian import closure
from mlops_infra.lab.mirror.homes import Homes
from mlops_infra.lab.mirror.layout import MirrorLayout
from mlops_infra.lab.mirror.packages import PLATFORM_PACKAGES
from mlops_infra.lab.mirror.programs import missing_programs
from mlops_infra.lab.mirror.progress import MirrorError, Say
from mlops_infra.lab.mirror.upstream_apt import SignedRepository, pick
from mlops_infra.lab.mirror.upstream_registry import RegistryClient
from mlops_infra.lab.mirror.versions import MirrorPlan
from mlops_infra.phases.distribution import DOCKER_FINGERPRINT, KUBERNETES_FINGERPRINT
from mlops_infra.render.catalogue import Artifact, artifact, fetch

__all__ = ["docker_repository", "fill_from_upstream", "kubernetes_repository"]


def kubernetes_repository(version: str) -> SignedRepository:
    """pkgs.k8s.io has one flat repository per minor."""
    minor = ".".join(version.split(".")[:2])
    root = f"https://pkgs.k8s.io/core:/stable:/v{minor}/deb"
    return SignedRepository(root, f"{root}/Release.key", KUBERNETES_FINGERPRINT)


def docker_repository(codename: str) -> SignedRepository:
    root = "https://download.docker.com/linux/debian"
    return SignedRepository(
        root, f"{root}/gpg", DOCKER_FINGERPRINT, f"dists/{codename}", "stable/binary-amd64/Packages"
    )


def fill_from_upstream(layout: MirrorLayout, plan: MirrorPlan, say: Say, homes: Homes | None = None) -> None:
    """Fills the mirror; blobs and packages that an earlier run brought are not fetched again."""
    if missing := missing_programs("apt-get", "gpg"):
        raise MirrorError("programs are missing to fill a mirror", remedy=f"apt-get install {' '.join(missing)}")
    site = _Upstream(layout, plan, homes or Homes(), say)
    site.write_files()
    for codename in plan.codenames:
        site.fill_repository(codename)
    site.fill_registry()
    staged = layout.root / ".lock.json.new"
    staged.write_text(json.dumps(sorted(site.lock, key=lambda one: one["what"]), indent=1) + "\n")
    staged.replace(layout.root / "lock.json")


@dataclass(slots=True)
class _Upstream:
    layout: MirrorLayout
    plan: MirrorPlan
    homes: Homes
    say: Say
    lock: list[dict[str, str]] = field(default_factory=list)

    @property
    def downloads(self) -> Path:
        return self.layout.products.root / "downloads"

    def note(self, what: str, url: str, sha256: str, vouched: str) -> None:
        self.lock.append({"what": what, "url": url, "sha256": sha256, "vouched_for_by": vouched})

    def write_files(self) -> None:
        for name, component in (("flannel", "flannel"), ("metallb", "metallb"), ("ingress_nginx", "ingress")):
            if component not in self.plan.components:
                continue
            item = artifact(name, getattr(self.plan.versions, name))
            content = self._pinned(item)
            target = self.layout.files / item.mirror_path
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as staged:
                staged.write(content)
            Path(staged.name).chmod(0o644)
            Path(staged.name).replace(target)
            self.note(f"file {item.mirror_path}", item.url, item.sha256, "sha256 pinned in the catalogue")
            self.say(f"file {item.mirror_path}")

    def _pinned(self, item: Artifact) -> bytes:
        moved = Artifact(item.name, item.version, self.homes.url(item.url), item.sha256, item.mirror_path)
        try:
            return fetch(moved, None, self.downloads / "files")
        except InfraError as error:
            raise MirrorError(
                error.brief, details=error.details, cause=error.cause, remedy="mlops-infra mirror build --from source"
            ) from error

    def fill_repository(self, codename: str) -> None:
        debs = [*sorted(closure(codename, self.layout.products, self.say).glob("*.deb"))]
        versions = self.plan.versions
        if "kubernetes" in self.plan.components:
            wanted = dict.fromkeys(("kubelet", "kubeadm", "kubectl"), versions.kubernetes)
            # The newest of each that the minor's repository holds: what a site without a mirror would get.
            wanted |= {"cri-tools": "", "kubernetes-cni": ""}
            debs += self._packages(kubernetes_repository(versions.kubernetes), wanted, "pkgs.k8s.io")
        if "containerd" in self.plan.components:
            debs += self._packages(docker_repository(codename), {"containerd.io": versions.containerd}, "Docker")
        repository = self.layout.repository(codename)
        repository.fill(debs, keep=PLATFORM_PACKAGES)
        self.layout.publish(repository)
        self.say(f"apt repository {codename}: {len(debs)} packages, signed")

    def _packages(self, repository: SignedRepository, wanted: dict[str, str], owner: str) -> list[Path]:
        offered = repository.packages(self.homes)
        found = []
        for name, version in wanted.items():
            package = pick(offered, name, version)
            self.say(f"package {package.name} {package.version} from {owner}")
            path = repository.fetch(package, self.homes, self.downloads)
            url = f"{repository.root}/{package.filename.removeprefix('./')}"
            self.note(f"package {path.name}", url, sha256_file(path), f"signing key {repository.fingerprint}")
            found.append(path)
        return found

    def fill_registry(self) -> None:
        client = RegistryClient(self.homes, self.downloads)
        for reference in self.plan.images:
            self.say(f"image {reference}")
            digest = client.mirror(reference, self.layout.registry)
            vouched = "the registry's own digest, over TLS"
            self.note(f"image {reference}", f"https://{reference}", digest.removeprefix("sha256:"), vouched)
