"""What a host's files say about how far kubeadm got there, and the verdicts on it (the truth table of `standing`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.core import (
    Absent,
    ApiObject,
    Command,
    Facts,
    OperationState,
    Probe,
    Standing,
    Stat,
    StatFact,
)

__all__ = ["MARKERS", "Evidence", "evidence", "evidence_probes", "init_standing", "join_standing", "marker"]

MARKERS = "/var/lib/mlops-infra/operations"

_KUBELET_CONF = Stat("/etc/kubernetes/kubelet.conf")
_ADMIN_CONF = Stat("/etc/kubernetes/admin.conf")
_APISERVER = Stat("/etc/kubernetes/manifests/kube-apiserver.yaml")
_KUBELET_CONFIG = Stat("/var/lib/kubelet/config.yaml")
_ETCD = Stat("/var/lib/etcd/member")
_RUNNING = Command("kubeadm-running", "pgrep -x kubeadm >/dev/null", timeout=5)


def marker(operation: str) -> str:
    """The file that lies on the host while this operation has begun and not ended well."""
    return f"{MARKERS}/{operation}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is there. `node`: None where no API server could be asked."""

    known: bool
    kubelet_conf: bool = False
    admin_conf: bool = False
    apiserver: bool = False
    kubelet_config: bool = False
    etcd: bool = False
    interrupted: bool = False
    running: bool = False
    node: bool | None = None

    @property
    def nothing(self) -> bool:
        return not (self.kubelet_conf or self.admin_conf or self.apiserver or self.kubelet_config or self.etcd)

    @property
    def is_master(self) -> bool:
        return self.kubelet_conf and self.admin_conf and self.apiserver and self.etcd

    @property
    def is_worker(self) -> bool:
        return self.kubelet_conf and self.kubelet_config

    def found(self) -> str:
        """The evidence in words."""
        names = (
            (self.kubelet_conf, _KUBELET_CONF.path),
            (self.admin_conf, _ADMIN_CONF.path),
            (self.apiserver, _APISERVER.path),
            (self.kubelet_config, _KUBELET_CONFIG.path),
            (self.etcd, _ETCD.path),
        )
        there = [path for present, path in names if present]
        missing = [path for present, path in names if not present]
        return f"there: {', '.join(there) or 'nothing'}; missing: {', '.join(missing) or 'nothing'}"


def evidence_probes(node: str, operation: str) -> frozenset[Probe[Any]]:
    return frozenset(
        {
            _KUBELET_CONF,
            _ADMIN_CONF,
            _APISERVER,
            _KUBELET_CONFIG,
            _ETCD,
            _RUNNING,
            Stat(marker(operation)),
            ApiObject("v1", "Node", node),
        }
    )


def evidence(facts: Facts, node: str, operation: str) -> Evidence:
    if not isinstance(facts.get(_KUBELET_CONF), StatFact | Absent):
        return Evidence(known=False)
    running = facts.value(_RUNNING)
    return Evidence(
        known=True,
        kubelet_conf=_there(facts, _KUBELET_CONF),
        admin_conf=_there(facts, _ADMIN_CONF),
        apiserver=_there(facts, _APISERVER),
        kubelet_config=_there(facts, _KUBELET_CONFIG),
        etcd=_there(facts, _ETCD),
        interrupted=_there(facts, Stat(marker(operation))),
        running=running is not None and running.rc == 0,
        node=_node(facts, node),
    )


def init_standing(seen: Evidence, host: str) -> Standing:
    """Whether the first master still has to be made. What the files cannot tell, the script looks at again."""
    if (early := _early(seen, "kubeadm init")) is not None:
        return early
    if seen.is_master:
        return _unless_forgotten(seen, host, "master")
    if seen.nothing:
        if seen.node:
            return _broken(
                seen, host, "master", f"the cluster knows a node {host}, and this host holds none of its files"
            )
        return Standing(OperationState.PENDING, "not initialised")
    return _half(seen, host, "master", "half of a control plane")


def join_standing(seen: Evidence, host: str, role: str) -> Standing:
    """Whether `host` still has to join as `role` ("master" or "worker")."""
    if (early := _early(seen, "join")) is not None:
        return early
    joined = seen.is_master if role == "master" else seen.is_worker and not seen.apiserver
    if joined:
        return _unless_forgotten(seen, host, role)
    if seen.nothing:
        if seen.node:
            return _broken(seen, host, role, f"the cluster knows a node {host}, and this host holds none of its files")
        return Standing(OperationState.PENDING, "not joined")
    if role == "worker" and seen.apiserver:
        return _broken(seen, host, role, "this worker holds a control plane")
    return _half(seen, host, role, "half joined")


def _early(seen: Evidence, what: str) -> Standing | None:
    """What holds before the files are weighed. The scripts wait for a kubeadm that is still at work."""
    if not seen.known:
        return Standing(OperationState.UNKNOWN, "the host was not asked")
    if seen.interrupted:
        still = "is still at work there" if seen.running else "did not finish"
        return Standing(OperationState.PENDING, f"an earlier {what} {still}", underway=seen.running)
    return None


def _half(seen: Evidence, host: str, role: str, brief: str) -> Standing:
    """Half of something: nobody's word is final while kubeadm runs there."""
    if seen.running:
        return Standing(OperationState.UNKNOWN, "kubeadm is running there at this moment, and not for us")
    return _broken(seen, host, role, brief)


def _unless_forgotten(seen: Evidence, host: str, role: str) -> Standing:
    if seen.node is False:
        return _broken(seen, host, role, "the host thinks that it has joined, and the cluster knows no such node")
    return Standing(OperationState.DONE)


def _broken(seen: Evidence, host: str, role: str, brief: str) -> Standing:
    away = (
        f"kubectl delete node {host} --ignore-not-found; on {host}: kubeadm reset --force, rm -rf /etc/cni/net.d/*; "
        "then mlops-infra up"
    )
    if role == "master":
        away = (
            f"If {host} holds nothing of value: on another master, remove its etcd member (etcdctl member list, "
            f"etcdctl member remove ID); {away}"
        )
    return Standing(OperationState.BROKEN, f"{brief} ({seen.found()})", away)


def _there(facts: Facts, probe: Stat) -> bool:
    return isinstance(facts.get(probe), StatFact)


def _node(facts: Facts, name: str) -> bool | None:
    answer = facts.answer(ApiObject("v1", "Node", name))
    if isinstance(answer, Absent):
        return False
    return True if isinstance(answer, Mapping) else None
