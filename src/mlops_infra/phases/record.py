"""The `record` phase: the cluster's own copy of what it was made from, on every master."""

from __future__ import annotations

from mlops_infra.core import Phase, Step, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext
from mlops_infra.resources import File

__all__ = ["record_phase"]

NAME = "record"


def record_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """Losing the workstation must not lose the cluster: configuration and secrets lie 0600 on each master."""
    files = tuple(
        File(f"/var/lib/mlops-infra/{name}", text.reveal(), mode=0o600, sensitive=True)
        for name, text in sorted(context.copies.items())
    )
    steps = tuple(
        Step(NAME, host.name, files, needs=frozenset({StepId("control-plane", host.name)}))
        for host in cluster.hosts.masters
        if files
    )
    return Phase(NAME, "Copy of the configuration", steps)
