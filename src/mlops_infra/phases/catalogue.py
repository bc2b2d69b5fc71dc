"""The program on one page: what a platform is, in the order in which it comes to be.

Every phase is a pure function of cluster.yaml. `needs` and `after` of their steps, not this order, say what waits for
what: images are pulled while packages install elsewhere, workers join while masters still do. Only at the API, where
one step follows the other, does this order count among those that may run.
"""

from __future__ import annotations

from collections.abc import Callable

from mlops_infra.core import Phase
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.access import access_phase
from mlops_infra.phases.backup import backup_phase
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.control_plane import control_plane_phase, masters_phase
from mlops_infra.phases.firewall import firewall_kept_phase, firewall_phase
from mlops_infra.phases.hosts import hosts_phase
from mlops_infra.phases.ingress import ingress_phase
from mlops_infra.phases.lb import lb_phase
from mlops_infra.phases.metallb import metallb_phase
from mlops_infra.phases.metrics import metrics_phase
from mlops_infra.phases.monitoring import monitoring_phase
from mlops_infra.phases.network import network_phase
from mlops_infra.phases.nodes import nodes_phase
from mlops_infra.phases.ready import ready_phase
from mlops_infra.phases.record import record_phase
from mlops_infra.phases.runtime import runtime_phase
from mlops_infra.phases.storage import storage_phase
from mlops_infra.phases.workers import workers_phase

__all__ = ["PHASES", "phases_for"]

PHASES: tuple[Callable[[Cluster, PhaseContext], Phase], ...] = (
    hosts_phase,  # swap, modules, sysctls, names, time, repositories
    runtime_phase,  # containerd, kubelet, kubeadm, kubectl; images begin to arrive
    lb_phase,  # HAProxy in front of API and ingress
    masters_phase,  # what lies on masters beside kubeadm's own files
    control_plane_phase,  # kubeadm init, then one master at a time
    network_phase,  # Flannel, as soon as the first master serves
    workers_phase,  # all at once, as soon as the first master serves
    nodes_phase,  # labels and taints that the file names
    access_phase,  # what viewers and operators may do
    ready_phase,  # a run ends when the nodes that joined are Ready
    storage_phase,  # volumes that can be claimed
    metrics_phase,  # kubectl top, autoscaling
    ingress_phase,  # what serves Ingress objects
    metallb_phase,  # addresses for Services of type LoadBalancer; ready when it runs on all nodes, the last master too
    monitoring_phase,  # Prometheus, Alertmanager, Grafana
    backup_phase,  # backups by a timer, without the workstation
    firewall_phase,  # who may call what is not everybody's: on trial
    firewall_kept_phase,  # and for good, once a new connection was let in
    record_phase,  # the cluster's own copy of its configuration
)


def phases_for(cluster: Cluster, context: PhaseContext) -> tuple[Phase, ...]:
    """All phases of this cluster; those with nothing to say have no steps."""
    return tuple(phase(cluster, context) for phase in PHASES)
