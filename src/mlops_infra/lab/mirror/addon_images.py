"""Images of the add-ons: Prometheus and its kin from Debian's packages, others from Go modules, Grafana a stand-in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mlops_infra.lab.mirror.cache import Cache, Recipe, sha256_file
from mlops_infra.lab.mirror.debian import base_packages, monitoring_packages
from mlops_infra.lab.mirror.golang import Toolchain
from mlops_infra.lab.mirror.oci import Image, Layer, LayerFile, layer_of_files
from mlops_infra.lab.mirror.programs import run
from mlops_infra.lab.mirror.progress import MirrorError, Say
from mlops_infra.lab.mirror.versions import Versions

__all__ = ["AddonImages"]

_HELPER_TOOLS = ("cat", "chmod", "cp", "ln", "ls", "mkdir", "mv", "rm", "sh")


@dataclass(frozen=True, slots=True)
class AddonImages:
    """`programs` maps a component to the directory of its binaries; `busybox` is the static one."""

    versions: Versions
    programs: Mapping[str, Path]
    busybox: Path
    cache: Cache
    say: Say

    def of(self, components: Iterable[str], toolchain: Toolchain) -> Iterable[Image]:
        """In the order of their components' names."""
        makers: dict[str, Callable[[Toolchain], Iterable[Image]]] = {
            "metrics": self._metrics, "monitoring": self._monitoring, "storage": self._storage
        }  # fmt: skip
        for name in sorted(components):
            if name in makers:
                yield from makers[name](toolchain)

    def _storage(self, _: Toolchain) -> Iterable[Image]:
        reference = f"docker.io/rancher/local-path-provisioner:v{self.versions.local_path}"
        yield self._bare(reference, "local-path", "local-path-provisioner", "/usr/bin/local-path-provisioner")
        helper = f"docker.io/library/busybox:{self.versions.busybox}"
        self.say(f"image {helper} (Debian's busybox)")
        parts = [LayerFile(self.busybox, "/bin/busybox")]
        parts += [LayerFile(self.busybox, f"/bin/{tool}", link="busybox") for tool in _HELPER_TOOLS]
        yield Image(helper, (layer_of_files(parts, self.cache, "busybox"),))

    def _metrics(self, _: Toolchain) -> Iterable[Image]:
        reference = f"registry.k8s.io/metrics-server/metrics-server:v{self.versions.metrics_server}"
        yield self._bare(reference, "metrics-server", "metrics-server", "/metrics-server")

    def _monitoring(self, toolchain: Toolchain) -> Iterable[Image]:
        versions = self.versions
        state = f"registry.k8s.io/kube-state-metrics/kube-state-metrics:v{versions.kube_state_metrics}"
        yield self._bare(state, "kube-state-metrics", "kube-state-metrics", "/kube-state-metrics")
        root = self._debian()
        for name, version, programs in (
            ("prometheus", versions.prometheus, {"prometheus": "prometheus", "promtool": "promtool"}),
            ("alertmanager", versions.alertmanager, {"prometheus-alertmanager": "alertmanager", "amtool": "amtool"}),
            ("node-exporter", versions.node_exporter, {"prometheus-node-exporter": "node_exporter"}),
        ):
            yield self._from_debian(f"quay.io/prometheus/{name}:v{version}", root, programs)
        grafana = f"docker.io/grafana/grafana:{versions.grafana}"
        self.say(f"image {grafana} (stand-in)")
        layer = layer_of_files([LayerFile(self._grafana(toolchain), "/run.sh")], self.cache, "grafana")
        yield Image(grafana, (layer,), ("/run.sh",), user="472")

    def _bare(self, reference: str, component: str, binary: str, path: str) -> Image:
        self.say(f"image {reference}")
        parts = [LayerFile(self.programs[component] / binary, path)]
        return Image(reference, (layer_of_files(parts, self.cache, binary),), (path,))

    def _from_debian(self, reference: str, root: Path, programs: Mapping[str, str]) -> Image:
        """The programs under upstream's names, above Debian's C library, which these are linked with."""
        self.say(f"image {reference} (Debian's program)")
        parts = [LayerFile(root / "usr" / "bin" / theirs, f"/bin/{name}") for theirs, name in programs.items()]
        first = next(iter(programs.values()))
        # Upstream's program carries its templates within itself.
        texts = sorted((root / "usr" / "share" / "prometheus" / first).glob("*.tmpl"))
        parts += [LayerFile(path, f"/{path.relative_to(root)}", 0o644) for path in texts]
        layers = (self._library(), layer_of_files(parts, self.cache, first))
        return Image(reference, layers, (f"/bin/{first}",), user="65534")

    def _debian(self) -> Path:
        debs = monitoring_packages(self.cache, self.say)
        return self._unpacked("monitoring-root", sorted(debs.glob("*.deb")))

    def _library(self) -> Layer:
        debs = base_packages(self.cache, self.say)
        root = self._unpacked("libc-root", sorted(debs.glob("libc6_*.deb")))
        parts = [
            LayerFile(path, f"/{path.relative_to(root)}", link=str(path.readlink()) if path.is_symlink() else "")
            for folder in ("lib", "lib64")
            for path in _leaves(root / "usr" / folder)
        ]
        # The loader's path as programs name it.
        parts.append(LayerFile(root, "/lib64", link="usr/lib64"))
        return layer_of_files(parts, self.cache, "libc")

    def _unpacked(self, name: str, debs: list[Path]) -> Path:
        if not debs:
            raise MirrorError(f"no package to unpack for {name}")
        recipe: Recipe = {"kind": name, "debs": {deb.name: sha256_file(deb) for deb in debs}}

        def make(into: Path) -> None:
            for deb in debs:
                run(["dpkg-deb", "-x", deb, into / "root"], what=f"unpack {deb.name}")
            for unread in ("doc", "man", "locale", "lintian"):
                shutil.rmtree(into / "root" / "usr" / "share" / unread, ignore_errors=True)

        return self.cache.product(name, recipe, make) / "root"

    def _grafana(self, toolchain: Toolchain) -> Path:
        source = files("mlops_infra.lab.mirror.stand_ins").joinpath("grafana.go").read_text()
        recipe: Recipe = {"kind": "grafana stand-in", "source": source, "go": toolchain.version}

        def make(into: Path) -> None:
            self.say("building grafana (stand-in)")
            work = into / ".work"
            work.mkdir()
            (work / "main.go").write_text(source)
            toolchain.output("mod", "init", "lab/grafana", cwd=work, what="start a Go module")
            toolchain.output(
                "build", "-trimpath", "-ldflags", "-s -w", "-o", str(into / "grafana"), ".",
                cwd=work, env={"CGO_ENABLED": "0"}, what="build grafana (stand-in)",
            )  # fmt: skip
            shutil.rmtree(work)

        return self.cache.product("grafana", recipe, make) / "grafana"


def _leaves(root: Path) -> Iterable[Path]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name) for name in sorted(names))
