"""Which master a cluster grows from: the file's first, unless it already lives on another."""

from __future__ import annotations

from collections.abc import Mapping

from mlops_infra.core import Facts, OperationState
from mlops_infra.model.cluster import Cluster
from mlops_infra.operations.evidence import evidence, init_standing

__all__ = ["choose_seed"]


def choose_seed(cluster: Cluster, facts: Mapping[str, Facts]) -> str:
    """The name of the master to join through. `facts`: of the hosts that answered.

    While the first master of the file answers and is whole (or nobody is) it is that one. Where it is gone, or was
    emptied, and others carry the cluster, the first of those: a new `kubeadm init` would make a second cluster.
    """
    whole = [
        host.name for host in cluster.hosts.masters if host.name in facts and _is_whole(host.name, facts[host.name])
    ]
    return whole[0] if whole else cluster.hosts.masters[0].name


def _is_whole(name: str, facts: Facts) -> bool:
    seen = evidence(facts, name, "kubeadm-init")
    joined = evidence(facts, name, "kubeadm-join")
    return not joined.interrupted and init_standing(seen, name).state is OperationState.DONE
