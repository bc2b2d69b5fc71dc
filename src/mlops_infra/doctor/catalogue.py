"""All checks on one page, in the order in which one thing stands on another: causes first."""

from __future__ import annotations

from dataclasses import replace

from mlops_infra.core import Change
from mlops_infra.doctor.addons import ADDONS
from mlops_infra.doctor.addresses import ADDRESSES, OLD_PROCESSES
from mlops_infra.doctor.check import Check
from mlops_infra.doctor.control_plane import API_LB, CONTROL_PLANE, CONTROLLERS, SERVERS
from mlops_infra.doctor.etcd import ETCD
from mlops_infra.doctor.etcd_health import CONSISTENCY, FSYNC
from mlops_infra.doctor.fitness import FITNESS
from mlops_infra.doctor.hosts import HOSTS
from mlops_infra.doctor.lb import INGRESS_BACKENDS, LB
from mlops_infra.doctor.machine import MACHINE_CHECKS, REBOOT
from mlops_infra.doctor.masters import FLAGS, LEADERS, MASTERS_ADVICE, SANS
from mlops_infra.doctor.members import KEYS, MEMBERS, VIP
from mlops_infra.doctor.network import NETWORK
from mlops_infra.doctor.nodes import NODE
from mlops_infra.doctor.platform import ADVICE, HALF, PLATFORM, plan_drift
from mlops_infra.doctor.pods import ENDPOINTS, PODS
from mlops_infra.doctor.reach import BUILT, REACH
from mlops_infra.doctor.removed import REMOVED
from mlops_infra.doctor.runtime import CSR, RUNTIME
from mlops_infra.doctor.versions import NODE_FACTS
from mlops_infra.doctor.watching import TARGETS, WATCHDOG, WATCHING_ADVICE
from mlops_infra.doctor.ways import ASKED_DNS, TUNNELS, WAYS
from mlops_infra.doctor.workloads import CLAIMS, WORKLOADS, WORKLOADS_ADVICE

__all__ = ["CHECKS"]


def _is_claimed(change: Change) -> bool:
    return any(check.claims_resource(change.resource) for check in _OWN)


_OWN: tuple[Check, ...] = (
    *HOSTS,
    *MACHINE_CHECKS,
    *FITNESS,
    WAYS,
    *RUNTIME,
    REMOVED,
    *CONTROL_PLANE,
    SANS,
    FLAGS,
    HALF,
    KEYS,
    *ETCD,
    *MEMBERS,
    CONSISTENCY,
    *SERVERS,
    *LB,
    OLD_PROCESSES,
    VIP,
    API_LB,
    CONTROLLERS,
    LEADERS,
    *NODE,
    *NODE_FACTS,
    CSR,
    *NETWORK,
    *TUNNELS,
    *ENDPOINTS,
    ASKED_DNS,
    *ADDRESSES,
    INGRESS_BACKENDS,
    *ADDONS,
    TARGETS,
    WATCHDOG,
    CLAIMS,
    *PODS,
    *WORKLOADS,
    plan_drift(_is_claimed),
    *PLATFORM,
)

_BELOW_ALL = tuple(check.id for check in (*REACH, *BUILT))


def _on_the_ground(check: Check) -> Check:
    """A host that is silent, or was never built, explains whatever else is wrong with it."""
    return replace(check, depends_on=(*_BELOW_ALL, *check.depends_on))


CHECKS: tuple[Check, ...] = (
    *REACH,
    *(replace(c, depends_on=tuple(r.id for r in (*REACH, *BUILT[:number]))) for number, c in enumerate(BUILT)),
    *(_on_the_ground(check) for check in _OWN),
    *ADVICE,
    *MASTERS_ADVICE,
    FSYNC,
    *WORKLOADS_ADVICE,
    *WATCHING_ADVICE,
    REBOOT,
)
