"""`status` as one screen: what is there, what it serves, what is old, and what the doctor says, all of one look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlops_infra.app.doctor import diagnosis_shape, examine, local_of
from mlops_infra.app.metallb_state import POOLS, SERVICES, MetallbState, state_of
from mlops_infra.app.platform import Platform
from mlops_infra.app.shapes import status_shape
from mlops_infra.app.status import Status
from mlops_infra.core import API, Absent, ApiObject, Facts
from mlops_infra.doctor import probes
from mlops_infra.doctor.backups import newest_backup
from mlops_infra.doctor.diagnosis import Diagnosis
from mlops_infra.doctor.view import View
from mlops_infra.engine.observation import Observation
from mlops_infra.model.cluster import Cluster

__all__ = ["Addon", "Certificate", "Picture", "addons_of", "first_to_end", "picture_of", "picture_shape"]


@dataclass(frozen=True, slots=True)
class Addon:
    """`ready` of `wanted` pods; both None where it is not installed, or not known (`known` False)."""

    name: str
    version: str = ""
    ready: int | None = None
    wanted: int | None = None
    known: bool = True


@dataclass(frozen=True, slots=True)
class Certificate:
    """The one that ends first."""

    host: str
    path: str
    end: datetime


@dataclass(frozen=True, slots=True)
class Picture:
    at: datetime
    status: Status
    diagnosis: Diagnosis
    addons: tuple[Addon, ...]
    balanced: MetallbState
    certificate: Certificate | None = None
    backup: datetime | None = None
    backup_path: str = ""


def picture_of(platform: Platform) -> Picture:
    """One look, judged in every way. Changes nothing."""
    diagnosis = examine(platform, more={API: frozenset({SERVICES, POOLS})})
    seen, cluster = platform.seen, platform.cluster
    now = datetime.now(UTC)
    last = newest_backup(View(cluster, seen, now, local=local_of(platform)))
    return Picture(
        now,
        platform.status(),
        diagnosis,
        addons_of(cluster, seen.api),
        state_of(seen.api),
        first_to_end(seen),
        last.at if last else None,
        last.path if last else "",
    )


def addons_of(cluster: Cluster, api: Facts) -> tuple[Addon, ...]:
    """What runs in the cluster for the cluster."""
    versions = cluster.versions
    parts: list[tuple[str, str, ApiObject]] = [
        ("CoreDNS", "", probes.COREDNS),
        ("kube-proxy", "", probes.KUBE_PROXY),
        ("MetalLB", versions.metallb, probes.METALLB_CONTROLLER),
        ("MetalLB speakers", "", probes.METALLB_SPEAKER),
        ("ingress", _ingress_version(cluster), probes.ingress(cluster)),
    ]
    if cluster.network.cni == "flannel":
        parts.insert(0, ("Flannel", versions.flannel, probes.FLANNEL))
    return tuple(_addon(name, version, api.get(probe)) for name, version, probe in parts)


def _ingress_version(cluster: Cluster) -> str:
    versions = cluster.versions
    return versions.traefik if cluster.ingress.controller == "traefik" else versions.ingress_nginx


def _addon(name: str, version: str, there: object) -> Addon:
    if isinstance(there, Absent):
        return Addon(name)
    if not isinstance(there, Mapping):
        return Addon(name, known=False)
    status, spec = there.get("status", {}), there.get("spec", {})
    if "desiredNumberScheduled" in status:
        return Addon(name, version, int(status.get("numberReady", 0)), int(status["desiredNumberScheduled"]))
    return Addon(name, version, int(status.get("readyReplicas") or 0), int(spec.get("replicas", 1)))


def first_to_end(seen: Observation) -> Certificate | None:
    """Of all certificates on all hosts; None where none was told."""
    found = [
        Certificate(host, path, end)
        for host, facts in seen.facts.items()
        for path, end in probes.parse_certificates(probes.said(facts, probes.CERTIFICATES)).items()
        if end is not None
    ]
    return min(found, key=lambda c: c.end, default=None)


def picture_shape(picture: Picture) -> dict[str, Any]:
    """The shape of docs/reference/json.md: that of a part's status, and the rest."""
    found = diagnosis_shape(picture.diagnosis)
    first = picture.certificate
    return {
        **status_shape(picture.status),
        "addons": [
            {"name": a.name, "version": a.version, "ready": a.ready, "wanted": a.wanted} for a in picture.addons
        ],
        "pools": [
            {"name": p.name, "ranges": list(p.ranges), "size": p.size, "used": p.used} for p in picture.balanced.pools
        ],
        "addresses": [
            {"service": s.full_name, "addresses": list(s.addresses), "ports": list(s.ports)}
            for s in picture.balanced.services
        ],
        "certificate": {"host": first.host, "path": first.path, "ends": first.end.isoformat()} if first else None,
        "backup": {"bundle": picture.backup_path, "at": picture.backup.isoformat()} if picture.backup else None,
        "findings": found["findings"],
        "advice": found["advice"],
    }
