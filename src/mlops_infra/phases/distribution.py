"""Where distributions differ, in one place: what is supported, what packages are called, where repositories lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core import Change, Command, Facts, Kind, Probe, System, SystemFact
from mlops_infra.phases.context import AptKey
from mlops_infra.resources import AptRepository

__all__ = [
    "ARCHITECTURES",
    "DOCKER_KEY",
    "KUBERNETES_KEY",
    "SUPPORTED",
    "DistributionRepository",
    "base_packages",
    "docker_repository",
    "is_supported",
    "kubernetes_repository",
    "time_service",
]

SUPPORTED: tuple[tuple[str, str, str], ...] = (
    ("debian", "12", "bookworm"),
    ("debian", "13", "trixie"),
    ("ubuntu", "22.04", "jammy"),
    ("ubuntu", "24.04", "noble"),
)
"""`ID`, `VERSION_ID` and `VERSION_CODENAME` of /etc/os-release."""

ARCHITECTURES = ("x86_64", "amd64", "aarch64", "arm64")

_BASE = ("ca-certificates", "openssl")
_NODE = ("conntrack", "ethtool", "iptables", "socat")

# Both fingerprints as their projects' users pin them: kubernetes#128609 shows `gpg Release.key` of pkgs.k8s.io;
# docs.docker.com/engine/install/debian gives Docker's.
KUBERNETES_FINGERPRINT = "DE15B14486CD377B9E876E1A234654DA9A296436"
DOCKER_FINGERPRINT = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
DOCKER_KEY = AptKey("https://download.docker.com/linux/debian/gpg", DOCKER_FINGERPRINT)


def KUBERNETES_KEY(minor: str) -> AptKey:  # noqa: N802 - reads as the constant that it is, but for the minor
    """One key signs all minors, but an end-of-life minor's copy of it may have expired: that is apt's to judge."""
    return AptKey(f"https://pkgs.k8s.io/core:/stable:/v{minor}/deb/Release.key", KUBERNETES_FINGERPRINT)


_DEBIAN_ARCH = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_TIME_SERVICES = {
    "timesyncd": ("systemd-timesyncd", "systemd-timesyncd.service"),
    "chrony": ("chrony", "chrony.service"),
}


def base_packages(role: str) -> tuple[str, ...]:
    """What a host is given first; the same names on all of SUPPORTED.

    Nodes: what kubelet and kubeadm call, and kubeadm's preflight looks for. Masters also curl, which reads the API for
    us several times as fast as kubectl does (engine/observe_sh.py).
    """
    return (*_BASE, *(() if role == "lb" else _NODE), *(("curl",) if role == "master" else ()))


def is_supported(os_id: str, version: str) -> bool:
    """True for the releases of SUPPORTED; a point release (`13.2`) counts as its release."""
    return any(os_id == known and (version == v or version.startswith(f"{v}.")) for known, v, _ in SUPPORTED)


def time_service(kind: str) -> tuple[str, str]:
    """Package and unit of a kind of time synchronisation. Raises KeyError for `none`."""
    return _TIME_SERVICES[kind]


@dataclass(frozen=True, slots=True)
class DistributionRepository:
    """An apt repository whose address depends on the host: `{os}`, `{codename}` and `{arch}` are filled in."""

    name: str
    uri: str
    key: bytes = field(repr=False)
    suites: str = "./"
    components: str = ""
    replaces: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"apt-repository:{self.name}"

    @property
    def title(self) -> str:
        return f"apt repository {self.name}"

    def probes(self) -> frozenset[Probe[Any]]:
        return self._general.probes() | {System()}

    def diff(self, facts: Facts) -> Change | None:
        system = facts.value(System())
        if system is None:
            return Change(self.id, self.title, Kind.CREATE, "known when the host was asked", ())
        filled = self._filled(system)
        # The host was asked for old entries before its release was known: by the address up to the first variable part.
        mine, its = _command(self._general.probes()), _command(filled.probes())
        return filled.diff(facts.merged({its: facts.answer(mine)}))

    @property
    def _stem(self) -> str:
        return self.uri.split("{", maxsplit=1)[0]

    @property
    def _general(self) -> AptRepository:
        return AptRepository(self.name, self._stem, self.key, self.suites, self.components, replaces=self.replaces)

    def _filled(self, system: SystemFact) -> AptRepository:
        names = {"os": system.os_id, "codename": system.codename, "arch": _DEBIAN_ARCH.get(system.arch, system.arch)}
        return AptRepository(
            self.name,
            self.uri.format_map(names),
            self.key,
            self.suites.format_map(names),
            self.components,
            replaces=(self._stem, *self.replaces),
        )


def kubernetes_repository(minor: str, key: bytes) -> DistributionRepository:
    """The public repository of one minor, e.g. `1.31` (a repository per minor, flat)."""
    base = "https://pkgs.k8s.io/core:/stable:/"
    return DistributionRepository("kubernetes", f"{base}v{minor}/deb/", key, suites="/", replaces=(base,))


def docker_repository(key: bytes) -> DistributionRepository:
    """Docker's repository: containerd.io comes from there."""
    return DistributionRepository("docker", "https://download.docker.com/linux/{os}", key, "{codename}", "stable")


def _command(probes: Iterable[Probe[Any]]) -> Command:
    return next(p for p in probes if isinstance(p, Command))
