"""The `network` phase: Flannel, applied as soon as the first master serves; nodes become Ready with it."""

from __future__ import annotations

from mlops_infra.core import API, Phase, Step, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.control_plane import seed_of
from mlops_infra.phases.flannel import patched
from mlops_infra.resources import ApiObjects

__all__ = ["network_phase"]

NAME = "network"


def network_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """No step where the user brings a CNI of their own."""
    if cluster.network.cni == "none":
        return Phase(NAME, "Pod network", ())
    flannel = ApiObjects("Flannel", patched(context.manifest("flannel"), cluster))
    step = Step(NAME, API, (flannel,), needs=frozenset({StepId("control-plane", seed_of(cluster, context))}))
    return Phase(NAME, "Pod network", (step,))
