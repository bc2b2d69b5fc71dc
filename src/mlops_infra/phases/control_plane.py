"""The `control-plane` phase: the first master is made, the others join it strictly one at a time."""

from __future__ import annotations

from mlops_infra.core import FailurePolicy, Phase, Resource, Step, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT, Host
from mlops_infra.operations.kubeadm import Joiner, kubeadm_init, kubeadm_join
from mlops_infra.phases.approver import approver_resources
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.host_exporters import master_exporter
from mlops_infra.phases.kubeadm_config import api_server, init_yaml, join_document, node_taints
from mlops_infra.resources import Directory

__all__ = ["control_plane_phase", "masters_phase", "seed_of"]

NAME = "control-plane"
MASTERS = "masters"


def seed_of(cluster: Cluster, context: PhaseContext) -> str:
    """The master that the others join through."""
    return context.seed or cluster.hosts.masters[0].name


def masters_phase(cluster: Cluster, _: PhaseContext) -> Phase:
    """What lies on masters beside kubeadm's own files: apart from the joins, so that no join waits for it."""
    steps = tuple(
        Step(MASTERS, host.name, _resources(cluster), needs=frozenset({StepId("runtime", host.name)}))
        for host in cluster.hosts.masters
    )
    return Phase(MASTERS, "Masters' own files", steps, FailurePolicy(0.5))


def control_plane_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """etcd takes one learner at a time, and a join that fails must not stop the next: `after`, not `needs`, orders the
    masters among themselves. All of them need the seed, and the seed needs the load balancers in front of it."""
    seed = seed_of(cluster, context)
    steps = [_seed_step(cluster, cluster.host_named(seed))]
    previous = seed
    for host in cluster.hosts.masters:
        if host.name != seed:
            steps.append(_join_step(cluster, host, seed, previous))
            previous = host.name
    return Phase(NAME, "Control plane", tuple(steps), FailurePolicy(0.5), quorum=True)


def _seed_step(cluster: Cluster, host: Host) -> Step:
    init = kubeadm_init(
        host.name,
        host.node_address,
        init_yaml(cluster, host),
        endpoint=cluster.endpoint_address,
        endpoint_port=cluster.endpoint_port,
        port=MASTER_PORT,
    )
    return Step(
        NAME,
        host.name,
        operations=(init,),
        needs=frozenset({StepId(MASTERS, host.name)}),
        # One load balancer of two may be down: the script says it when the endpoint cannot be reached at all.
        after=frozenset(StepId("lb", lb.name) for lb in cluster.hosts.lb),
    )


def _join_step(cluster: Cluster, host: Host, seed: str, previous: str) -> Step:
    taints = tuple(
        f"{t['key']}{'=' + t['value'] if 'value' in t else ''}:{t['effect']}" for t in node_taints(cluster, host)
    )
    document = join_document(cluster, host)
    joiner = Joiner(host.name, host.node_address, "master", api_server(cluster), document, taints, MASTER_PORT)
    return Step(
        NAME,
        host.name,
        operations=(kubeadm_join(joiner, seed=seed, kubernetes=cluster.versions.kubernetes),),
        needs=frozenset({StepId(MASTERS, host.name), StepId(NAME, seed)}),
        after=frozenset({StepId(NAME, previous)}),
    )


def _resources(cluster: Cluster) -> tuple[Resource, ...]:
    # etcd's own user has no place here: kubeadm runs it as root and wants the directory closed (CIS 1.1.11).
    return (Directory("/var/lib/etcd", mode=0o700), *approver_resources(cluster), *master_exporter(cluster))
