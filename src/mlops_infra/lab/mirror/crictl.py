"""The stand-in for crictl: compiled from its one source file against Kubernetes' own CRI client."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from mlops_infra.lab.mirror.cache import Cache
from mlops_infra.lab.mirror.golang import Toolchain
from mlops_infra.lab.mirror.progress import Say

__all__ = ["build_crictl"]


def build_crictl(kubernetes: str, cache: Cache, toolchain: Toolchain, say: Say) -> Path:
    """The directory that holds `crictl`, for a Kubernetes version such as 1.31.4 (its CRI client is used)."""
    source = files("mlops_infra.lab.mirror.stand_ins").joinpath("crictl.go").read_text()
    version = f"v0.{kubernetes.removeprefix('1.')}"
    recipe = {"kind": "crictl stand-in", "source": source, "cri-client": version, "go": toolchain.version}
    if not cache.has("crictl", recipe):
        say("building crictl (stand-in) against k8s.io/cri-client")

    def make(into: Path) -> None:
        work = into / ".work"
        work.mkdir()
        (work / "main.go").write_text(source)
        toolchain.output("mod", "init", "lab/crictl", cwd=work, what="start a Go module")
        pinned = (f"k8s.io/{name}@{version}" for name in ("cri-client", "cri-api", "component-base", "apimachinery"))
        toolchain.output("get", *pinned, cwd=work, what="resolve k8s.io/cri-client")
        toolchain.output("mod", "tidy", "-e", cwd=work, what="resolve the modules of crictl (stand-in)")
        toolchain.output(
            "build", "-trimpath", "-ldflags", "-s -w", "-o", str(into / "crictl"), ".",
            cwd=work, env={"CGO_ENABLED": "0"}, what="build crictl (stand-in)",
        )  # fmt: skip
        shutil.rmtree(work)

    return cache.product("crictl", recipe, make)
