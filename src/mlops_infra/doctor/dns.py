"""CoreDNS that asks itself: whom it forwards to, and which of its pods crash."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from mlops_infra.core import Absent
from mlops_infra.doctor.check import NO_API, OK, Check, Finding, Severity, Verdict, asks_api, on_host
from mlops_infra.doctor.going import dns_address
from mlops_infra.doctor.probes import COREFILE
from mlops_infra.doctor.view import View

__all__ = ["LOOP"]

_FORWARD = re.compile(r"^[ \t]*forward[ \t]+\.[ \t]+([^{\n]*[^{\s])", re.MULTILINE)
_UPSTREAM = "/etc/resolv.conf"


def _itself(target: str, own: str) -> bool:
    """Whether a place that it forwards to is CoreDNS again: the loopback of its pod, or the Service's address."""
    host = re.sub(r"^(dns|tls)://", "", target)
    host = host[1:].partition("]")[0] if host.startswith("[") else host if host.count(":") > 1 else host.split(":")[0]
    try:
        return ipaddress.ip_address(host).is_loopback or host == own
    except ValueError:
        return False


def _loops(corefile: str, own: str) -> Iterator[str]:
    for match in _FORWARD.finditer(corefile):
        if any(_itself(target, own) for target in match[1].split()):
            yield match[1]


def _loop(view: View, _: str) -> Verdict:
    there = view.api(COREFILE)
    if there is None or isinstance(there, Absent):
        return NO_API
    targets = next(_loops(str((there.get("data") or {}).get("Corefile", "")), dns_address(view.cluster)), None)
    if targets is None:
        return OK
    kubectl = "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system"
    old = re.sub(r"([][.*#])", r"\\\1", targets)
    return Finding(
        f"CoreDNS forwards to itself: forward . {targets}",
        "ConfigMap kube-system/coredns, Corefile",
        "the Corefile was edited: within its pod this is CoreDNS again, so each of its pods ends with a loop as soon "
        "as it is started",
        on_host(
            view.a_master,
            f'{kubectl} get configmap coredns -o yaml | sed "s#forward \\. {old}#forward . {_UPSTREAM}#" | '
            f"{kubectl} apply -f - && {kubectl} rollout restart deployment/coredns",
        ),
        stands_alone=True,
    )


LOOP = Check(
    "dns.loop",
    "Does CoreDNS forward to somebody else than itself?",
    Severity.ERROR,
    _loop,
    "Reads `forward` in the Corefile. An address of the loopback, or that of the cluster's DNS itself, makes a loop, "
    "which CoreDNS notices at its start, and ends. A loopback in a node's own /etc/resolv.conf is told by "
    "host.resolver.",
    scope="cluster",
    api=asks_api(COREFILE),
)
