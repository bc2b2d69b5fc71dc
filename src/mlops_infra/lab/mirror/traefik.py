"""Traefik for the lab, from its Go module, with stand-ins for what the module proxy does not serve.

What serves Ingresses is all Traefik's. Not served are: SDKs of a dozen DNS providers (used by ACME's DNS challenge
alone), a nested module with three empty types, and the newest commit of the fork that passwords are checked by.
"""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path

from mlops_infra.lab.mirror.cache import Cache, Recipe
from mlops_infra.lab.mirror.golang import Toolchain
from mlops_infra.lab.mirror.progress import MirrorError, Say

__all__ = ["build_traefik"]

MODULE = "github.com/traefik/traefik/v3"
_LEGO = "github.com/go-acme/lego/v5"
_EXTENSIONS = "github.com/traefik/traefik/dynamic/ext"
_FORKS = {
    # The commit that releases up to 3.6 name; 3.7 names one of 2026 that is not served.
    "github.com/abbot/go-http-auth": "github.com/containous/go-http-auth@v0.4.1-0.20200324110947-a37a7636d23e",
    "github.com/gorilla/mux": "github.com/containous/mux@v0.0.0-20250523120546-41b6ec3aed59",
}
"""As Traefik's own go.mod replaces them, which does not count where it is not the main module."""


def build_traefik(version: str, cache: Cache, toolchain: Toolchain, say: Say) -> Path:
    """The directory that holds `traefik`, of a release such as 3.7.13; 3.6 and older are made of other modules.

    Raises MirrorError where the release is not served, or not made as this one is.
    """
    sources = {name: files("mlops_infra.lab.mirror.stand_ins").joinpath(name).read_text() for name in _STAND_INS}
    recipe: Recipe = {
        "kind": "traefik", "version": version, "forks": _FORKS, "stand-ins": sources, "go": toolchain.version
    }  # fmt: skip
    if cache.has("traefik", recipe):
        return cache.path("traefik", recipe)

    def make(into: Path) -> None:
        work = into / ".work"
        work.mkdir()
        toolchain.output("mod", "init", "lab/traefik", cwd=work, what="start a Go module")
        _stand_in(version, sources, toolchain, work)
        for name, fork in _FORKS.items():
            toolchain.output("mod", "edit", f"-replace={name}={fork}", cwd=work, what=f"pin {name}")
        package = f"{MODULE}/cmd/traefik"
        toolchain.output("get", "-tool", f"{package}@v{version}", cwd=work, what=f"resolve {package}")
        say(f"building traefik {version} (with stand-ins)")
        flags = f"-s -w -X {MODULE}/pkg/version.Version=v{version}"
        toolchain.output(
            "build", "-trimpath", "-ldflags", flags, "-o", str(into / "traefik"), package,
            cwd=work, env={"CGO_ENABLED": "0"}, what="build traefik",
        )  # fmt: skip
        shutil.rmtree(work)

    return cache.product("traefik", recipe, make)


_STAND_INS = ("traefik-dns.go", "traefik-ext.go")


def _stand_in(version: str, sources: dict[str, str], toolchain: Toolchain, work: Path) -> None:
    probe = work / "probe"
    probe.mkdir()
    wanted = (toolchain.module(MODULE, f"v{version}", probe) / "go.mod").read_text()
    number = re.search(rf"{re.escape(_LEGO)} (v\S+)", wanted)
    if number is None:
        raise MirrorError(
            f"Traefik {version} is not made as the releases from 3.7 on", cause=f"its go.mod does not name {_LEGO}"
        )
    lego = work / "lego"
    left_out = shutil.ignore_patterns("providers", "cmd", "e2e", "main.go", "*_test.go")
    # Files of Go's cache are read-only.
    shutil.copytree(toolchain.module(_LEGO, number[1], probe), lego, ignore=left_out, copy_function=shutil.copyfile)
    for folder in (lego, *(path for path in lego.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    shutil.rmtree(probe)
    (lego / "providers" / "dns").mkdir(parents=True)
    (lego / "providers" / "dns" / "stand_in.go").write_text(sources["traefik-dns.go"])
    extensions = work / "ext"
    extensions.mkdir()
    (extensions / "stand_in.go").write_text(sources["traefik-ext.go"])
    (extensions / "go.mod").write_text(f"module {_EXTENSIONS}\n\ngo 1.26\n")
    for name, there in ((_LEGO, "./lego"), (_EXTENSIONS, "./ext")):
        toolchain.output("mod", "edit", f"-replace={name}={there}", cwd=work, what=f"put in a stand-in of {name}")
