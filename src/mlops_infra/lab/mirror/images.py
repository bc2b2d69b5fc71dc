"""The platform's images from built programs, under their upstream names and no richer than the public ones."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from importlib.resources import as_file, files
from pathlib import Path

from mlops_infra.lab.mirror.addon_images import AddonImages
from mlops_infra.lab.mirror.cache import Cache, Recipe, sha256_file
from mlops_infra.lab.mirror.debian import BASE_CODENAME, base_packages
from mlops_infra.lab.mirror.golang import Toolchain
from mlops_infra.lab.mirror.ingress import ingress_image
from mlops_infra.lab.mirror.oci import Image, Layer, LayerFile, layer_of_files
from mlops_infra.lab.mirror.programs import run
from mlops_infra.lab.mirror.progress import MirrorError, Say
from mlops_infra.lab.mirror.python_image import python_image
from mlops_infra.lab.mirror.versions import MirrorPlan

__all__ = ["ImageMaker"]

SHELL_TOOLS = ("cat", "cp", "ls", "mkdir", "sh")
"""What the init containers of the platform's manifests call."""


class ImageMaker:
    """Makes the images of a plan. `programs` maps a component to the directory of its binaries."""

    def __init__(self, plan: MirrorPlan, programs: Mapping[str, Path], shells: Path, cache: Cache, say: Say) -> None:
        self._plan = plan
        self._programs = programs
        self._busybox = shells / "busybox"
        self._bash = shells / "bash"
        self._cache = cache
        self._say = say

    def all(self, toolchain: Toolchain) -> Iterable[Image]:
        plan, versions = self._plan, self._plan.versions
        k8s = "registry.k8s.io"
        if "kubernetes" in plan.components:
            yield self._pause(toolchain)
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
                yield self._bare(f"{k8s}/{name}:v{versions.kubernetes}", "kubernetes", {name: f"/usr/local/bin/{name}"})
            yield self._on_base(
                f"{k8s}/kube-proxy:v{versions.kubernetes}", "kubernetes", {"kube-proxy": "/usr/local/bin/kube-proxy"}
            )
        if "etcd" in plan.components:
            yield self._etcd()
        if "coredns" in plan.components:
            where = f"{k8s}/coredns/coredns:v{versions.coredns}"
            yield self._bare(where, "coredns", {"coredns": "/coredns"}, entrypoint="/coredns")
        if "flannel" in plan.components:
            yield self._on_base(
                f"ghcr.io/flannel-io/flannel:v{versions.flannel}", "flannel", {"flanneld": "/opt/bin/flanneld"},
                entrypoint="/opt/bin/flanneld",
            )  # fmt: skip
            yield self._flannel_cni()
        if "metallb" in plan.components:
            for part in ("controller", "speaker"):
                where = f"quay.io/metallb/{part}:v{versions.metallb}"
                yield self._bare(where, "metallb", {f"metallb-{part}": f"/{part}"}, entrypoint=f"/{part}")
        if "ingress" in plan.components:
            reference = f"{k8s}/ingress-nginx/controller:v{versions.ingress_nginx}"
            self._say(f"image {reference} (with stand-ins)")
            yield ingress_image(
                reference,
                self._programs["ingress"],
                self._busybox,
                toolchain=toolchain,
                cache=self._cache,
                say=self._say,
            )

        if "traefik" in plan.components:
            where = f"docker.io/library/traefik:v{versions.traefik}"
            self._say(f"image {where} (with stand-ins)")
            yield Image(where, (self._program_layer("traefik", {"traefik": "/traefik"}),), ("/traefik",))

        yield from AddonImages(versions, self._programs, self._busybox, self._cache, self._say).of(
            plan.components, toolchain
        )

        if "examples" in plan.components:
            yield python_image(f"docker.io/library/python:{versions.python}", self._cache, self._say)

    def _bare(self, reference: str, component: str, binaries: Mapping[str, str], entrypoint: str = "") -> Image:
        """Nothing but the program, as upstream's distroless images."""
        self._say(f"image {reference}")
        return Image(reference, (self._program_layer(component, binaries),), (entrypoint,) if entrypoint else ())

    def _on_base(self, reference: str, component: str, binaries: Mapping[str, str], entrypoint: str = "") -> Image:
        self._say(f"image {reference}")
        layers = (self.base(), self._program_layer(component, binaries))
        return Image(reference, layers, (entrypoint,) if entrypoint else ())

    def _program_layer(self, component: str, binaries: Mapping[str, str]) -> Layer:
        home = self._programs[component]
        return layer_of_files(
            [LayerFile(home / name, path) for name, path in binaries.items()], self._cache, "-".join(binaries)
        )

    def _etcd(self) -> Image:
        """etcd and etcdctl and a bare shell; no etcdutl and no tools, like the public image.

        The shell is bash: busybox would bring its tools along under the one name.
        """
        reference = f"registry.k8s.io/etcd:{self._plan.versions.etcd_image}"
        self._say(f"image {reference}")
        parts = [
            LayerFile(self._programs["etcd"] / "etcd", "/usr/local/bin/etcd"),
            LayerFile(self._programs["etcdctl"] / "etcdctl", "/usr/local/bin/etcdctl"),
            LayerFile(self._bash, "/bin/sh"),
        ]
        return Image(reference, (layer_of_files(parts, self._cache, "etcd"),))

    def _flannel_cni(self) -> Image:
        """Flannel's own CNI plugin is in no registry: the image carries a stand-in under the plugin's name."""
        reference = f"ghcr.io/flannel-io/flannel-cni-plugin:v{self._plan.versions.flannel_cni}"
        self._say(f"image {reference} (stand-in)")
        with as_file(files("mlops_infra.lab.mirror.stand_ins").joinpath("flannel-cni")) as plugin:
            parts = [LayerFile(plugin, "/flannel"), *self._shell("/bin")]
            layer = layer_of_files(parts, self._cache, "flannel-cni")
        return Image(reference, (layer,))

    def _shell(self, directory: str) -> Iterable[LayerFile]:
        yield LayerFile(self._busybox, f"{directory}/busybox")
        for tool in SHELL_TOOLS:
            yield LayerFile(self._busybox, f"{directory}/{tool}", link="busybox")

    def _pause(self, toolchain: Toolchain) -> Image:
        """The pause program is one C file of Kubernetes' own source."""
        versions = self._plan.versions
        reference = f"registry.k8s.io/pause:{versions.pause}"
        self._say(f"image {reference}")
        scratch = self._cache.root / ".modules"
        scratch.mkdir(parents=True, exist_ok=True)
        source = toolchain.module("k8s.io/kubernetes", f"v{versions.kubernetes}", scratch) / "build/pause/linux/pause.c"
        recipe: Recipe = {"kind": "pause", "source": sha256_file(source), "version": versions.pause}

        def make(into: Path) -> None:
            define = f"-DVERSION={versions.pause}"
            run(["gcc", "-Os", "-static", "-s", "-o", into / "pause", source, define], what="compile pause")

        home = self._cache.product("pause", recipe, make)
        layer = layer_of_files([LayerFile(home / "pause", "/pause")], self._cache, "pause")
        return Image(reference, (layer,), ("/pause",), user="65535:65535")

    def base(self) -> Layer:
        """A shell, iptables, ip and conntrack: what kube-proxy and Flannel call, and nothing else."""
        debs = base_packages(self._cache, self._say)
        recipe: Recipe = {"kind": "base", "debs": {deb.name: sha256_file(deb) for deb in sorted(debs.glob("*.deb"))}}

        def make(into: Path) -> None:
            self._say(f"base image from Debian {BASE_CODENAME}'s iptables, iproute2 and conntrack")
            root = into / "root"
            for name in ("bin", "sbin", "lib", "lib64"):
                (root / "usr" / name).mkdir(parents=True, exist_ok=True)
                (root / name).symlink_to(f"usr/{name}")
            for deb in sorted(debs.glob("*.deb")):
                run(["dpkg-deb", "-x", deb, root], what=f"unpack {deb.name}")
            shutil.rmtree(root / "usr" / "share", ignore_errors=True)
            _choose_nft(root / "usr" / "sbin")

        home = self._cache.product("base", recipe, make)
        return layer_of_files([*_tree(home / "root"), *self._shell("/usr/bin")], self._cache, "base")


def _choose_nft(sbin: Path) -> None:
    """What update-alternatives would set up: the nft variant of iptables."""
    if not (sbin / "xtables-nft-multi").exists():
        raise MirrorError("Debian's iptables package holds no xtables-nft-multi")
    for name in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            link = sbin / f"{name}{suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to("xtables-nft-multi")


def _tree(root: Path) -> Iterable[LayerFile]:
    for folder, names, leaves in os.walk(root):
        for name in [*leaves, *(one for one in names if Path(folder, one).is_symlink())]:
            path = Path(folder, name)
            inside = "/" + str(path.relative_to(root))
            if path.is_symlink():
                yield LayerFile(path, inside, link=str(path.readlink()))
            elif path.is_file():
                yield LayerFile(path, inside, stat.S_IMODE(path.stat().st_mode))
