"""Debian packages with all they depend on, resolved and verified by apt itself in a state of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.lab.mirror.cache import Cache, Recipe, sha256_file
from mlops_infra.lab.mirror.programs import run
from mlops_infra.lab.mirror.progress import MirrorError, Say

__all__ = [
    "BASE_CODENAME",
    "CODENAMES",
    "HOST_PACKAGES",
    "Archive",
    "DebianSource",
    "base_packages",
    "closure",
    "ingredients",
    "ingress_packages",
    "machine_sources",
    "monitoring_packages",
    "python_packages",
    "sources_for",
]

CODENAMES = ("trixie", "bookworm")

HOST_PACKAGES = (
    # what a bare host has
    "apt", "systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "iproute2", "ca-certificates", "procps", "kmod",
    # what the platform installs on it
    "haproxy", "keepalived", "chrony", "conntrack", "socat", "iptables", "nftables", "ethtool", "ebtables",
    "curl", "openssl", "gpgv", "age", "logrotate", "jq", "rsync", "ipvsadm", "ipset", "libseccomp2", "netcat-openbsd",
    "prometheus-node-exporter",
    # what benches and people want
    "python3-minimal", "python3-apt", "less", "unattended-upgrades",
)  # fmt: skip
"""The whole closure is mirrored, the base system included: a mirror then serves any minimal root file system."""
HOST_ALTERNATIVES = ("systemd-timesyncd",)
"""Excluded by one of the above (chrony): resolved apart."""

BASE_CODENAME = "trixie"
BASE_PACKAGES = ("iptables", "nftables", "iproute2", "conntrack")
"""What the base image of kube-proxy and Flannel is made of."""
INGRESS_PACKAGES = (
    "nginx", "libnginx-mod-http-lua", "libnginx-mod-http-ndk", "libnginx-mod-http-headers-more-filter",
    "libnginx-mod-stream", "lua-resty-core", "lua-resty-lrucache", "lua-cjson", "dumb-init", "libmimalloc3", "procps",
    "ca-certificates",
)  # fmt: skip
"""What the image of the ingress controller is made of, beside the controller."""
MONITORING_PACKAGES = ("prometheus", "promtool", "prometheus-alertmanager", "prometheus-node-exporter")
"""Whose programs the images of monitoring hold."""

PYTHON_PACKAGES = ("python3", "ca-certificates")
"""What the image of Python is made of."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, slots=True)
class DebianSource:
    """One archive: `uri`, and its suite with the codename cut out (`{codename}-updates`)."""

    uri: str
    suite: str
    signed_by: str

    def stanza(self, codename: str) -> str:
        return (
            f"Types: deb\nURIs: {self.uri}\nSuites: {self.suite.format(codename=codename)}\n"
            f"Components: main\nSigned-By: {self.signed_by}\n"
        )


def machine_sources(etc: Path = Path("/etc/apt"), codename: str | None = None) -> tuple[DebianSource, ...]:
    """The archives that this machine itself installs from. Raises MirrorError when none of them is Debian's."""
    codename = codename or _os_codename()
    found: dict[tuple[str, str], DebianSource] = {}
    for uri, suite, signed_by in _entries(etc):
        if suite == codename or suite.startswith(f"{codename}-"):
            source = DebianSource(uri, suite.replace(codename, "{codename}", 1), signed_by or str(KEYRING))
            found.setdefault((uri, suite), source)
    given = os.environ.get("MLOPS_INFRA_DEBIAN_ARCHIVE")
    if given:
        return (DebianSource(given, "{codename}", str(KEYRING)),)
    if not any(source.suite == "{codename}" for source in found.values()):
        raise MirrorError(
            "this machine's apt sources name no Debian archive",
            cause=f"looked in {etc} for the suite {codename}",
            remedy="set MLOPS_INFRA_DEBIAN_ARCHIVE to the URL of a Debian archive",
        )
    return tuple(found.values())


def sources_for(codename: str, sources: Iterable[DebianSource]) -> str:
    return "\n".join(source.stanza(codename) for source in sources)


def _os_codename() -> str:
    release = Path("/etc/os-release").read_text()
    match = re.search(r"^VERSION_CODENAME=(\w+)", release, re.M)
    return match[1] if match else ""


def _entries(etc: Path) -> Iterable[tuple[str, str, str]]:
    """(URI, suite, Signed-By) of each binary source, from both formats of sources.list(5), Debian's main only."""
    for file in sorted([etc / "sources.list", *etc.glob("sources.list.d/*.list")]):
        for line in file.read_text().splitlines() if file.exists() else ():
            match = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)", line)
            if match and "main" in match[4].split():
                signed = re.search(r"signed-by=(\S+)", match[1] or "")
                yield match[2].rstrip("/"), match[3], signed[1] if signed else ""
    for file in sorted(etc.glob("sources.list.d/*.sources")):
        for block in re.split(r"\n\s*\n", file.read_text()):
            keys = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", block, re.M))
            if "deb" not in keys.get("Types", "").split() or "main" not in keys.get("Components", "").split():
                continue
            for uri in keys.get("URIs", "").split():
                for suite in keys.get("Suites", "").split():
                    yield uri.rstrip("/"), suite, keys.get("Signed-By", "").strip()


@dataclass(frozen=True, slots=True)
class Archive:
    """apt for one codename, with its state, lists and cache below `home`; this machine's own are not touched."""

    home: Path
    codename: str

    def options(self) -> list[str]:
        home = self.home
        settings = {
            "Dir::State": home / "state",
            "Dir::State::status": home / "status",
            "Dir::Cache": home / "cache",
            "Dir::Etc::sourcelist": home / "debian.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "APT::Keep-Downloaded-Packages": "true",
            "APT::Update::Post-Invoke-Success::": "true",
        }
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def prepare(self, sources: Iterable[DebianSource]) -> None:
        for part in ("state/lists/partial", "cache/archives/partial"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        (self.home / "status").touch()
        (self.home / "debian.sources").write_text(sources_for(self.codename, sources))

    def update(self) -> str:
        """Fetches the lists and returns what identifies them: the digest of their Release files."""
        # Indices other than Packages (icons, contents) are configured by desktop packages and cost more than the rest.
        run(
            ["apt-get", *self.options(), "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false", "update"],
            what=f"fetch the package lists of Debian {self.codename}", deadline=600,
        )  # fmt: skip
        digest = hashlib.sha256()
        for release in sorted((self.home / "state" / "lists").glob("*Release")):
            digest.update(release.name.encode() + release.read_bytes())
        return digest.hexdigest()

    def fetch(self, packages: Iterable[str], into: Path) -> None:
        """The packages and everything that they need on an empty system, verified by apt against the signed lists."""
        wanted = list(packages)
        apart = [name for name in wanted if name in HOST_ALTERNATIVES]
        for group in ([name for name in wanted if name not in apart], *([name] for name in apart)):
            run(
                ["apt-get", *self.options(), "install", "--no-install-recommends", "--download-only", "-yqq", *group],
                what=f"download packages of Debian {self.codename}", deadline=1800,
            )  # fmt: skip
        for deb in (self.home / "cache" / "archives").glob("*.deb"):
            shutil.move(deb, into / deb.name)

    def fetch_alone(self, packages: Iterable[str], into: Path) -> None:
        run(
            ["apt-get", *self.options(), "download", "-qq", *packages],
            cwd=into, what=f"download packages of Debian {self.codename}", deadline=600,
        )  # fmt: skip


def _archive(codename: str, cache: Cache) -> Archive:
    archive = Archive(cache.root / f"apt-state-{codename}", codename)
    archive.prepare(machine_sources())
    return archive


def _fetched(name: str, codename: str, packages: tuple[str, ...], cache: Cache, say: Say, *, alone: bool) -> Path:
    archive = _archive(codename, cache)
    stem = f"{name}-{codename}"
    recipe: Recipe = {"kind": name, "codename": codename, "packages": sorted(packages)}
    try:
        recipe["lists"] = archive.update()
    except MirrorError:
        # The archive is out of reach: what was fetched earlier for the same packages serves as well.
        for path in sorted(
            cache.root.glob(f"{stem}-*/recipe.json"), key=lambda path: path.stat().st_mtime, reverse=True
        ):
            if f'"{codename}"' in path.read_text() and _same_packages(path, packages):
                say(f"the Debian archive does not answer: using the packages of {codename} fetched before")
                return path.parent
        raise
    if not cache.has(stem, recipe):
        say(f"downloading Debian {codename}: {', '.join(packages[:4])} …")
    fetch = archive.fetch_alone if alone else archive.fetch
    return cache.product(stem, recipe, lambda into: fetch(packages, into))


def _same_packages(recipe: Path, packages: tuple[str, ...]) -> bool:
    return bool(json.loads(recipe.read_text()).get("packages") == sorted(packages))


def closure(
    codename: str, cache: Cache, say: Say, packages: tuple[str, ...] = HOST_PACKAGES + HOST_ALTERNATIVES
) -> Path:
    """The directory of .deb files that hosts of that release need."""
    return _fetched("debian", codename, packages, cache, say, alone=False)


def base_packages(cache: Cache, say: Say) -> Path:
    """The directory of .deb files that the base image unpacks."""
    return _fetched("base-debs", BASE_CODENAME, BASE_PACKAGES, cache, say, alone=False)


def ingress_packages(cache: Cache, say: Say) -> Path:
    """The directory of .deb files that the image of the ingress controller unpacks."""
    return _fetched("ingress-debs", BASE_CODENAME, INGRESS_PACKAGES, cache, say, alone=False)


def monitoring_packages(cache: Cache, say: Say) -> Path:
    """The directory of .deb files with Prometheus' programs, alone."""
    return _fetched("monitoring-debs", BASE_CODENAME, MONITORING_PACKAGES, cache, say, alone=True)


def python_packages(cache: Cache, say: Say) -> Path:
    """The directory of .deb files that the image of Python unpacks."""
    return _fetched("python-debs", BASE_CODENAME, PYTHON_PACKAGES, cache, say, alone=False)


def ingredients(codename: str, cache: Cache, say: Say) -> Path:
    """Single programs out of Debian's packages: `runc`, and the static `busybox` and `bash`."""
    debs = _fetched("ingredients-debs", codename, ("runc", "busybox-static", "bash-static"), cache, say, alone=True)
    recipe: Recipe = {"kind": "ingredients", "debs": {deb.name: sha256_file(deb) for deb in sorted(debs.glob("*.deb"))}}

    def make(into: Path) -> None:
        for deb in debs.glob("*.deb"):
            run(["dpkg-deb", "-x", deb, into / "root"], what=f"unpack {deb.name}")
        shutil.copy(_first(into / "root", "sbin/runc", "bin/runc"), into / "runc")
        shutil.copy(_first(into / "root", "bin/busybox"), into / "busybox")
        shutil.copy(_first(into / "root", "bin/bash-static"), into / "bash")
        shutil.rmtree(into / "root")

    return cache.product("ingredients", recipe, make)


def _first(root: Path, *suffixes: str) -> Path:
    for suffix in suffixes:
        for base in (root / "usr", root):
            if (base / suffix).is_file():
                return base / suffix
    raise MirrorError(f"no {suffixes[0]} in Debian's package")
