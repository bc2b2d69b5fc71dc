"""Preflight's part in a plan: what it asks beside the phases, and how its findings are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlops_infra.core import API, HostProblem, Probe
from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.operations.evidence import evidence_probes
from mlops_infra.phases import preflight
from mlops_infra.phases.drift import drift_probes
from mlops_infra.phases.preflight import Finding

__all__ = ["asked_first", "problems_of", "refuse", "remarks_of"]

ALL = "all hosts"


def asked_first(cluster: Cluster) -> dict[str, frozenset[Probe[Any]]]:
    """The questions of preflight, and on masters those that say whether the cluster lives there."""
    asked = {host.name: preflight.probes(cluster, host) for host in cluster.all_hosts}
    for host in cluster.hosts.masters:
        for operation in ("kubeadm-init", "kubeadm-join"):
            asked[host.name] |= evidence_probes(host.name, operation)
    return {**asked, API: drift_probes()}


def problems_of(findings: Iterable[Finding]) -> tuple[HostProblem, ...]:
    """Refusals, as problems of their hosts."""
    return tuple(HostProblem(f.host or ALL, f.brief, f.cause, f.remedy) for f in findings if f.severity == "refuse")


def remarks_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Warnings and notes, one line for each kind of them."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for found in findings:
        if found.severity != "refuse":
            remedy = f" ({found.remedy})" if found.remedy and found.severity == "warn" else ""
            hosts.setdefault((found.severity, found.brief + remedy), []).append(found.host or ALL)
    return tuple(f"{', '.join(names)}: {text}" for (_, text), names in hosts.items())


def refuse(findings: Iterable[Finding]) -> None:
    """Raises InfraError while a finding forbids to write. It says all of them: with --json nothing else does."""
    refused = [f for f in findings if f.severity == "refuse"]
    if refused:
        hosts: dict[str, list[str]] = {}
        for f in refused:
            told = filter(None, (f.brief, f.cause and f"  why: {f.cause}", f.remedy and f"  try: {f.remedy}"))
            hosts.setdefault("\n".join(told), []).append(f.host or ALL)
        names = ", ".join(dict.fromkeys(name for several in hosts.values() for name in several))
        raise InfraError(
            f"Nothing was changed: preflight refuses {names}",
            details="\n".join(f"{', '.join(several)}: {text}" for text, several in hosts.items()),
            cause="What is wrong now would fail later, and leave more to mend.",
            remedy="Mend it and run again. `--limit HOST` leaves hosts out for now.",
        )
