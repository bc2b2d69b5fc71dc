"""A mirror built from Go modules and Debian packages, for a site (or a lab) that reaches no public repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.lab.mirror import components as programs
from mlops_infra.lab.mirror.cache import Cache, Recipe, sha256_file
from mlops_infra.lab.mirror.crictl import build_crictl
from mlops_infra.lab.mirror.deb import Deb
from mlops_infra.lab.mirror.debian import BASE_CODENAME, closure, ingredients
from mlops_infra.lab.mirror.golang import GoProgram, Toolchain, build, find_go
from mlops_infra.lab.mirror.images import ImageMaker
from mlops_infra.lab.mirror.layout import MirrorLayout
from mlops_infra.lab.mirror.packages import PLATFORM_PACKAGES, PackageVersions, containerd_package, kubernetes_packages
from mlops_infra.lab.mirror.programs import missing_programs
from mlops_infra.lab.mirror.progress import MirrorError, Say
from mlops_infra.lab.mirror.traefik import build_traefik
from mlops_infra.lab.mirror.versions import MirrorPlan
from mlops_infra.render.catalogue import Artifact, artifact

__all__ = ["fill_from_source"]

MODULE_FILES = {
    "flannel": ("github.com/flannel-io/flannel", "Documentation/kube-flannel.yml"),
    "metallb": ("go.universe.tf/metallb", "config/manifests/metallb-native.yaml"),
}
"""Where a release's manifest lies in its Go module, byte for byte as at the tag."""
INGRESS_FILE = "deploy/static/provider/baremetal/deploy.yaml"


def fill_from_source(layout: MirrorLayout, plan: MirrorPlan, say: Say) -> None:
    """Fills the mirror. Products are cached by what they were built from: a broken run goes on where it stopped."""
    if missing := missing_programs("gcc", "dpkg-deb", "apt-get", "gpg"):
        raise MirrorError(
            "programs are missing to build a mirror from source", remedy=f"apt-get install {' '.join(missing)}"
        )
    cache = layout.products
    toolchain = find_go(cache, say)
    site = _Source(layout, plan, cache, toolchain, say)
    # Downloads first: a missing way out shows within seconds, not after the builds.
    debian = {codename: closure(codename, cache, say) for codename in plan.codenames}
    site.write_files()
    built = site.build_programs()
    for codename in plan.codenames:
        site.fill_repository(codename, debian[codename], built)
    site.fill_registry(built)


@dataclass(frozen=True, slots=True)
class _Source:
    layout: MirrorLayout
    plan: MirrorPlan
    cache: Cache
    toolchain: Toolchain
    say: Say

    def write_files(self) -> None:
        for name, (module, path) in MODULE_FILES.items():
            if name not in self.plan.components:
                continue
            version = getattr(self.plan.versions, name)
            self._write_file(artifact(name, version), module, f"v{version}", path)
        if "ingress" in self.plan.components:
            self._write_file(
                artifact("ingress_nginx", self.plan.versions.ingress_nginx), *programs.INGRESS_MODULE, INGRESS_FILE
            )

    def _write_file(self, item: Artifact, module: str, number: str, path: str) -> None:
        scratch = self.cache.root / ".modules"
        scratch.mkdir(parents=True, exist_ok=True)
        found = self.toolchain.module(module, number, scratch) / path
        if sha256_file(found) != item.sha256:
            raise MirrorError(f"{path} in {module} {number} is not the pinned file", cause="another source")
        target = self.layout.files / item.mirror_path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(found.read_bytes())
        self.say(f"file {item.mirror_path}")

    def build_programs(self) -> dict[str, Path]:
        """Directories of binaries by the program's name; one Go build at a time."""
        built: dict[str, Path] = {}
        for program in self._programs():
            built[program.name] = build(program, self.cache, self.toolchain, self.say)
        if "kubernetes" in self.plan.components:
            built["crictl"] = build_crictl(self.plan.versions.kubernetes, self.cache, self.toolchain, self.say)
        if "traefik" in self.plan.components:
            built["traefik"] = build_traefik(self.plan.versions.traefik, self.cache, self.toolchain, self.say)
        return built

    def _programs(self) -> tuple[GoProgram, ...]:
        versions = self.plan.versions
        offered: dict[str, tuple[GoProgram, ...]] = {
            "containerd": (programs.containerd(versions.containerd),),
            "etcd": programs.etcd(versions.etcd),
            "cni": (programs.cni_plugins(versions.cni),),
            "kubernetes": (programs.kubernetes(versions.kubernetes),),
            "coredns": (programs.coredns(versions.coredns),),
            "flannel": (programs.flannel(versions.flannel),),
            "metallb": (programs.metallb(versions.metallb),),
            "ingress": (programs.ingress(versions.ingress_nginx),),
            "storage": (programs.local_path(versions.local_path),),
            "metrics": (programs.metrics_server(versions.metrics_server),),
            "monitoring": (programs.kube_state_metrics(versions.kube_state_metrics),),
        }
        return tuple(one for name, made in offered.items() if name in self.plan.components for one in made)

    def fill_repository(self, codename: str, debian: Path, built: Mapping[str, Path]) -> None:
        ours = [path for deb in self._debs(codename, built) if (path := self._deb(deb))]
        repository = self.layout.repository(codename)
        repository.fill([*sorted(debian.glob("*.deb")), *ours], keep=PLATFORM_PACKAGES)
        self.layout.publish(repository)
        self.say(f"apt repository {codename}: {len(repository.packages())} packages, signed")

    def _debs(self, codename: str, built: Mapping[str, Path]) -> tuple[Deb, ...]:
        versions = self.plan.versions
        numbers = PackageVersions(versions.kubernetes, versions.containerd, versions.cri_tools, versions.cni)
        debs: list[Deb] = []
        if {"kubernetes", "cni"} <= built.keys():
            debs += kubernetes_packages(numbers, built["kubernetes"], built["crictl"], built["cni"])
        if "containerd" in built:
            runc = ingredients(codename, self.cache, self.say) / "runc"
            debs.append(containerd_package(numbers, built["containerd"], runc))
        return tuple(debs)

    def _deb(self, deb: Deb) -> Path:
        recipe: Recipe = {
            "kind": "deb",
            "control": deb.control(),
            "scripts": deb.scripts,
            "links": deb.links,
            "files": [
                [
                    one.path,
                    one.mode,
                    one.conffile,
                    sha256_file(one.source) if isinstance(one.source, Path) else one.source.hex(),
                ]
                for one in deb.files
            ],
        }
        if not self.cache.has(f"deb-{deb.name}", recipe):
            self.say(f"package {deb.name} {deb.version}")
        home = self.cache.product(f"deb-{deb.name}", recipe, lambda into: _write(deb, into))
        return home / deb.filename

    def fill_registry(self, built: Mapping[str, Path]) -> None:
        shells = ingredients(BASE_CODENAME, self.cache, self.say)
        maker = ImageMaker(self.plan, built, shells, self.cache, self.say)
        for image in maker.all(self.toolchain):
            self.layout.registry.put(image)


def _write(deb: Deb, into: Path) -> None:
    deb.write(into)
