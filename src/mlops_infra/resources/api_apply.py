"""How manifests are applied: server-side, namespaces and CRDs first, by the kubectl of a master."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlops_infra.core import Shell
from mlops_infra.resources.text import quote

__all__ = ["APPLY", "FIELD_MANAGER", "KUBECTL", "LONGEST", "OWN_SERVER", "apply_actions", "serves"]

FIELD_MANAGER = "mlops-infra"

OWN_SERVER = (
    "server=$(sed -n 's/.*kube-apiserver.advertise-address.endpoint: *//p' "
    "/etc/kubernetes/manifests/kube-apiserver.yaml 2>/dev/null | head -n 1)\n"
)
"""The master's own API server, from the annotation that kubeadm writes: the load balancer need not be up."""
KUBECTL = "kubectl --kubeconfig={} ${{server:+--server=https://$server}}"
"""A call after OWN_SERVER; its one blank is the quoted kubeconfig."""

APPLY = f"apply --server-side --field-manager={FIELD_MANAGER} --force-conflicts"
_PATIENCE = 60
LONGEST = _PATIENCE * 6
"""Seconds that waiting for the API server can take: each question may hang for five."""
# After a power cut the API server answers before etcd has a leader: what is applied then fails, a moment later works.
_SERVES = """\
tries=0
until {kubectl} --request-timeout=5s get --raw=/readyz >/dev/null 2>&1; do
  tries=$((tries + 1)); [ "$tries" -lt {patience} ] || break
  sleep 1
done
"""


def serves(kubectl: str = "kubectl") -> str:
    """A wait until the API server answers, or for LONGEST seconds."""
    return _SERVES.format(kubectl=kubectl, patience=_PATIENCE)


def apply_actions(
    title: str, manifests: tuple[Mapping[str, Any], ...], kubeconfig: str, deadline: int
) -> tuple[Shell, ...]:
    """One apply for what others live in (namespaces, CRDs), then one for the rest; manifests go by standard input."""
    first = tuple(m for m in manifests if m["kind"] in {"Namespace", "CustomResourceDefinition"})
    rest = tuple(m for m in manifests if m not in first)
    kubectl = KUBECTL.format(quote(kubeconfig))
    apply = f"{OWN_SERVER}{serves(kubectl)}{kubectl} {APPLY} -f -\n"
    actions, longest = [], deadline + LONGEST
    if first:
        crds = " ".join(quote(f"crd/{m['metadata']['name']}") for m in first if m["kind"] != "Namespace")
        wait = f"{kubectl} wait --for=condition=Established --timeout={deadline}s {crds}\n" if crds else ""
        actions.append(Shell(f"apply namespaces and types of {title}", apply + wait, longest, _listed(first)))
    if rest:
        actions.append(Shell(f"apply {title}", apply, longest, _listed(rest)))
    return tuple(actions)


def _listed(manifests: tuple[Mapping[str, Any], ...]) -> bytes:
    # JSON documents in a row: what kubectl reads from -f -, and no YAML writer is needed to make them.
    return b"".join(json.dumps(m, default=_plain).encode() + b"\n" for m in manifests)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
