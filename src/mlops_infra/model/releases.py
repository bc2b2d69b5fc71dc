"""What is known about releases of the platform's parts; the facts and their sources are in release_data.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files

__all__ = ["Bounds", "Companions", "Fix", "Minor", "Releases", "minor_of", "parse_version", "releases"]

VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Minor:
    """One line of releases, e.g. 1.31. `final`: `last` is the last patch there will ever be."""

    name: str
    eol: date
    last: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Companions:
    """Tags of the images that one version of kubeadm brings along."""

    etcd: str
    coredns: str
    pause: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A security fix: `fixed` names the first patch of each minor that holds it."""

    component: str
    id: str
    title: str
    fixed: tuple[str, ...]
    source: str

    def is_lacking(self, version: str) -> bool:
        """Whether a version is without the fix: older than the fixed patch of its minor, or of a minor before them."""
        number = parse_version(version)
        if number is None:
            return False
        fixed = sorted(v for f in self.fixed if (v := parse_version(f)))
        same = [v for v in fixed if v[:2] == number[:2]]
        return number < (same[0] if same else fixed[-1])


@dataclass(frozen=True, slots=True)
class Bounds:
    """Versions that do: from `oldest` on, and older than `below`."""

    oldest: str
    below: str

    def __contains__(self, version: str) -> bool:
        first, number, end = (parse_version(v) or (0,) for v in (self.oldest, version, self.below))
        return first <= number < end


@dataclass(frozen=True, slots=True)
class Releases:
    """The whole table."""

    kubernetes: Mapping[str, Minor]
    containerd: Mapping[str, Minor]
    oldest_kubernetes: str
    last_with_containerd_1: str
    companions: Mapping[str, Companions]
    fixes: tuple[Fix, ...]
    ingress_nginx_retired: date
    traefik: Bounds

    def minors(self, component: str) -> Mapping[str, Minor]:
        """The minors of `kubernetes` or `containerd`, oldest first."""
        return {"kubernetes": self.kubernetes, "containerd": self.containerd}[component]

    def lacking(self, component: str, version: str) -> tuple[Fix, ...]:
        """The known security fixes that this version is without."""
        return tuple(f for f in self.fixes if f.component == component and f.is_lacking(version))


def parse_version(text: str) -> tuple[int, int, int] | None:
    """`1.31.4` as numbers; None for anything else, a leading v included."""
    found = VERSION.fullmatch(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def minor_of(version: str) -> str:
    """`1.31` of `1.31.4`. Raises ValueError where it is no version."""
    number = parse_version(version)
    if number is None:
        raise ValueError(f"{version} is not a version such as 1.31.4")
    return f"{number[0]}.{number[1]}"


@cache
def releases() -> Releases:
    """The table that ships with this program."""
    data = tomllib.loads((files("mlops_infra.model") / "release_data.toml").read_text("utf-8"))
    kubernetes = data["kubernetes"]
    tables = {
        name: {m: Minor(m, i["eol"], i["last"], i.get("final", False)) for m, i in data[name]["minors"].items()}
        for name in ("kubernetes", "containerd")
    }
    return Releases(
        kubernetes=tables["kubernetes"],
        containerd=tables["containerd"],
        oldest_kubernetes=kubernetes["oldest"],
        last_with_containerd_1=next(m for m, i in kubernetes["minors"].items() if i.get("last_containerd_1")),
        companions={v: Companions(**images) for v, images in kubernetes["companions"].items()},
        fixes=tuple(Fix(**{**fix, "fixed": tuple(fix["fixed"])}) for fix in data["fixes"]),
        ingress_nginx_retired=data["ingress_nginx"]["retired"],
        traefik=Bounds(**data["traefik"]),
    )
