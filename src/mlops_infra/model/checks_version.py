"""Checks of versions: known, fit for one another, and how old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.finding import Finding
from mlops_infra.model.releases import Minor, minor_of, parse_version, releases
from mlops_infra.model.tree import Keys

__all__ = ["check_versions"]

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
    """Retired is the whole project, whatever the version."""
    version = cluster.versions.ingress_nginx
    lacking = releases().lacking("ingress_nginx", version)
    message = f"ingress-nginx is retired since {releases().ingress_nginx_retired:%B %Y}: nobody mends it any more"
    message += f"; {version} lacks the fix of {', '.join(f.id for f in lacking)}" if lacking else ""
    message += "; `ingress.controller: traefik` serves the same Ingresses"
    first = " and ".join(dict.fromkeys(v for f in lacking for v in f.fixed))
    hint = f"{first} are the first of their lines with it" if lacking else "docs/how-to/ingress.md says what changes"
    yield Finding(("versions", "ingress_nginx"), message, hint, warning=True)


def _traefik(cluster: Cluster) -> Iterator[Finding]:
    version, fit = cluster.versions.traefik, releases().traefik
    if version not in fit:
        message = f"Traefik {version} cannot stand in for ingress-nginx the way that this program sets it up"
        yield Finding(("versions", "traefik"), message, f"what can is {fit.oldest} and later, before {fit.below}")


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
