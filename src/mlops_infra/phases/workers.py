"""The `workers` phase: they join side by side, as soon as the first master serves."""

from __future__ import annotations

from mlops_infra.core import FailurePolicy, Phase, Step, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.operations.kubeadm import Joiner, kubeadm_join
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.control_plane import seed_of
from mlops_infra.phases.kubeadm_config import api_server, join_document

__all__ = ["workers_phase"]

NAME = "workers"


def workers_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    seed = seed_of(cluster, context)
    steps = tuple(
        Step(
            NAME,
            host.name,
            operations=(
                kubeadm_join(
                    Joiner(host.name, host.node_address, "worker", api_server(cluster), join_document(cluster, host)),
                    seed=seed,
                    kubernetes=cluster.versions.kubernetes,
                ),
            ),
            needs=frozenset({StepId("runtime", host.name), StepId("control-plane", seed)}),
        )
        for host in cluster.hosts.workers
    )
    return Phase(NAME, "Workers", steps, FailurePolicy(0.5))
