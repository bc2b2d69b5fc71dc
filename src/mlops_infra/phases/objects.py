"""Objects of the Kubernetes API in few words: what the components that this program itself describes are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "NAME_LABEL",
    "NOBODY",
    "account",
    "cluster_role",
    "cluster_role_binding",
    "config_map",
    "container",
    "daemon_set",
    "deployment",
    "digest",
    "labels",
    "metadata",
    "namespace",
    "pod_security",
    "port",
    "role_binding",
    "rule",
    "service",
]

Manifest = dict[str, Any]
NAME_LABEL = "app.kubernetes.io/name"
NOBODY = 65534
"""The user of that name: owns nothing on any host."""
_RBAC = "rbac.authorization.k8s.io"


def labels(name: str) -> dict[str, str]:
    """What Services and controllers select by."""
    return {NAME_LABEL: name}


def metadata(name: str, inside: str = "", **more: Any) -> Manifest:
    """`inside`: the namespace; empty for what belongs to the whole cluster."""
    return {"name": name, **({"namespace": inside} if inside else {}), **more}


def namespace(name: str, *, privileged: bool = False) -> Manifest:
    """`privileged`: its pods may use the host, as exporters and helpers of volumes do (Pod Security admission)."""
    level = {"pod-security.kubernetes.io/enforce": "privileged"} if privileged else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(name, labels={**labels(name), **level})}


def account(name: str, inside: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name, inside, labels=labels(name))}


def rule(groups: str, resources: str, verbs: str = "get list watch") -> Manifest:
    """Words apart by blanks; `core` is the group without a name."""
    return {
        "apiGroups": ["" if group == "core" else group for group in groups.split()],
        "resources": resources.split(),
        "verbs": verbs.split(),
    }


def cluster_role(name: str, rules: Sequence[Manifest], **more: Any) -> Manifest:
    return {
        "apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": metadata(name, **more), "rules": list(rules)
    }  # fmt: skip


def cluster_role_binding(name: str, role: str, inside: str, who: str) -> Manifest:
    """The ClusterRole `role` for the account `who` of the namespace `inside`."""
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata(name),
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": who, "namespace": inside}],
    }


def role_binding(name: str, kind: str, role: str, inside: str, who: str) -> Manifest:
    """In the namespace `inside` alone; `kind` is Role or ClusterRole."""
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata(name, inside),
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": who, "namespace": inside}],
    }


def config_map(name: str, inside: str, files: Mapping[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name, inside), "data": dict(files)}


def port(name: str, number: int, target: str = "", **more: Any) -> Manifest:
    """A port of a Service; it leads to the container's port `target`, by default the one of the same name."""
    return {"name": name, "port": number, "protocol": "TCP", "targetPort": target or name, **more}


def service(name: str, inside: str, selects: str, ports: Sequence[Manifest], **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, inside, labels=labels(selects)),
        "spec": {"selector": labels(selects), "ports": list(ports), **spec},
    }


def container(
    name: str,
    image: str,
    args: Sequence[str],
    *,
    ports: Mapping[str, int],
    cpu: str,
    memory: str,
    mounts: Mapping[str, str] | None = None,
    ready: tuple[str, str] | None = None,
    alive: tuple[str, str] | None = None,
    **more: Any,
) -> Manifest:
    """`cpu` and `memory` are requests; `mounts` maps paths to volumes; `ready`, `alive`: path and port that are asked.

    Its root is read-only, and it may not become more than it is.
    """
    made: Manifest = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(args),
        "ports": [{"name": n, "containerPort": p, "protocol": "TCP"} for n, p in ports.items()],
        "resources": {"requests": {"cpu": cpu, "memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }
    if mounts:
        made["volumeMounts"] = [{"name": volume, "mountPath": path} for path, volume in mounts.items()]
    if ready:
        made["readinessProbe"] = _asked(*ready, period=5)
    if alive:
        made["livenessProbe"] = {**_asked(*alive, period=15), "failureThreshold": 6}
    return made


def pod_security(user: int, *, owns_volumes: bool = False) -> Manifest:
    """Of a pod whose containers run as `user`, and with no call of the kernel that the runtime keeps from them.

    `owns_volumes`: what it mounts is its group's, so that it can write there.
    """
    group = {"runAsGroup": user, "fsGroup": user} if owns_volumes else {}
    return {"runAsNonRoot": True, "runAsUser": user, **group, "seccompProfile": {"type": "RuntimeDefault"}}


def deployment(
    name: str, inside: str, pod: Manifest, *, replicas: int = 1, notes: Mapping[str, str] | None = None, **spec: Any
) -> Manifest:
    """`notes` are annotations of its pods: when they change, the pods are made anew."""
    return _workload("Deployment", name, inside, pod, {"replicas": replicas, **spec}, notes=notes)


def daemon_set(name: str, inside: str, pod: Manifest, *, notes: Mapping[str, str] | None = None) -> Manifest:
    # All at once: what runs on every node is not what people are served by.
    update = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}
    return _workload("DaemonSet", name, inside, pod, {"updateStrategy": update}, notes=notes)


def digest(*texts: str) -> str:
    """Short, and another one when a text changes. Not for secrets."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _workload(
    kind: str, name: str, inside: str, pod: Manifest, spec: Manifest, *, notes: Mapping[str, str] | None
) -> Manifest:
    inner = {"labels": labels(name), **({"annotations": dict(notes)} if notes else {})}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata(name, inside, labels=labels(name)),
        "spec": {"selector": {"matchLabels": labels(name)}, "template": {"metadata": inner, "spec": pod}, **spec},
    }


def _asked(path: str, port_name: str, *, period: int) -> Manifest:
    scheme = "HTTPS" if port_name == "https" else "HTTP"
    asked = {"path": path, "port": port_name, "scheme": scheme}
    return {"httpGet": asked, "periodSeconds": period, "timeoutSeconds": 3}
