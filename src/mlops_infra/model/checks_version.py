"""Checks of versions: known, fit for one another, and how old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.finding import Finding
from mlops_infra.model.releases import Minor, minor_of, parse_version, releases
from mlops_infra.model.tree import Keys

__all__ = ["check_versions"]

_INGRESS_SAFE = (1, 11, 5)
"""https://github.com/kubernetes/kubernetes/issues/131009 (1.12.0 lacks the fix too; it is not offered here)."""
_TRAEFIK_SAFE, _TRAEFIK_NEXT = (3, 6, 2), (4,)
TITLES = {"kubernetes": "Kubernetes", "containerd": "containerd"}


def check_versions(cluster: Cluster, today: date) -> Iterator[Finding]:
    """Unknown versions are errors; what is past its end of life, or lacks a security fix, is a warning."""
    for component, title in TITLES.items():
        version = getattr(cluster.versions, component)
        keys: Keys = ("versions", component)
        known = releases().minors(component)
        minor = known.get(minor_of(version))
        if minor is None:
            names = list(known)
            message = f"{title} {version} is not known to this release of mlops-infra"
            yield Finding(keys, message, f"it knows {names[0]} to {names[-1]}")
            continue
        yield from _patch(component, version, minor, keys)
        yield from _age(component, version, minor, keys, today)
    yield from _pairs(cluster)
    if cluster.ingress.controller == "nginx" and cluster.hosts.workers:
        yield from _ingress(cluster)
    if cluster.ingress.controller == "traefik":
        yield from _traefik(cluster)


def _ingress(cluster: Cluster) -> Iterator[Finding]:
    """ingress-nginx has ended as a project: https://www.kubernetes.dev/blog/2025/11/12/ingress-nginx-retirement/."""
    version = cluster.versions.ingress_nginx
    lacking = [] if (parse_version(version) or (0,)) >= _INGRESS_SAFE else ["CVE-2025-1974"]
    message = "ingress-nginx is retired since March 2026: nobody mends it any more"
    message += f"; {version} lacks the fix of {', '.join(lacking)}" if lacking else ""
    message += "; `ingress.controller: traefik` serves the same Ingresses"
    hint = "1.11.5 is the first of its line that has it" if lacking else "docs/how-to/ingress.md says what changes"
    yield Finding(("versions", "ingress_nginx"), message, hint, warning=True)


def _traefik(cluster: Cluster) -> Iterator[Finding]:
    """Its provider for ingress-nginx's annotations is no experiment since 3.6.2, as its flag for experiments says."""
    version = cluster.versions.traefik
    if not _TRAEFIK_SAFE <= (parse_version(version) or (0,)) < _TRAEFIK_NEXT:
        message = f"Traefik {version} cannot stand in for ingress-nginx the way that this program sets it up"
        yield Finding(("versions", "traefik"), message, "3.6.2 is the first that can, 3 the major that is known here")


def _patch(component: str, version: str, minor: Minor, keys: Keys) -> Iterator[Finding]:
    if minor.final and (parse_version(version) or (0,)) > (parse_version(minor.last) or (0,)):
        message = f"there is no {TITLES[component]} {version}"
        yield Finding(keys, message, f"the last {minor.name} is {minor.last}")


def _age(component: str, version: str, minor: Minor, keys: Keys, today: date) -> Iterator[Finding]:
    lacking = releases().lacking(component, version)
    fixes = ", ".join(f.id for f in lacking)
    if minor.eol < today:
        known = releases().minors(component)
        alive = [m.name for m in known.values() if m.eol >= today]
        message = f"{TITLES[component]} {minor.name} is past its end of life since {minor.eol}"
        message += f"; {version} lacks the fixes of {fixes}" if fixes else ""
        hint = f"supported today: {', '.join(alive)}" if alive else ""
        yield Finding(keys, message, hint, warning=True)
    elif fixes:
        message = f"{TITLES[component]} {version} lacks the fixes of {fixes}"
        yield Finding(keys, message, f"{minor.last} is the last that is known here", warning=True)


def _pairs(cluster: Cluster) -> Iterator[Finding]:
    kubernetes, containerd = (parse_version(getattr(cluster.versions, c)) for c in TITLES)
    oldest = parse_version(f"{releases().oldest_kubernetes}.0")
    last = parse_version(f"{releases().last_with_containerd_1}.0")
    if kubernetes is None or containerd is None or oldest is None or last is None:
        return
    if kubernetes < oldest:
        message = f"Kubernetes {cluster.versions.kubernetes} is too old: its kubeadm does not read v1beta4"
        yield Finding(("versions", "kubernetes"), message, f"{releases().oldest_kubernetes} is the oldest that works")
    if kubernetes[:2] > last[:2] and containerd[0] < 2:
        message = f"Kubernetes {cluster.versions.kubernetes} refuses containerd {cluster.versions.containerd}"
        yield Finding(("versions", "containerd"), message, "it wants containerd 2")
