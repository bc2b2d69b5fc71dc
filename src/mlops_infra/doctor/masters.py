"""How masters were made: names in certificates, flags, who leads, and files that had better not be where they are."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from datetime import datetime
from typing import Any

from mlops_infra.core import Absent, Probe, https_url
from mlops_infra.doctor.check import NO_API, OK, Check, Finding, Severity, Skipped, Verdict, asks_api, kubectl, on_host
from mlops_infra.doctor.control_plane import own_server, written_anew
from mlops_infra.doctor.network import not_running_on
from mlops_infra.doctor.probes import CERTIFICATES, CONTAINERS, LEASES, SYSTEM, Said, control_plane, said
from mlops_infra.doctor.view import View
from mlops_infra.doctor.x509 import names_of
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT, Host
from mlops_infra.phases.releases import minor_of

__all__ = ["FLAGS", "LEADERS", "MASTERS_ADVICE", "SANS"]

MASTER = frozenset({"master"})
_APISERVER = "/etc/kubernetes/pki/apiserver.crt"
_SUPER_ADMIN = "/etc/kubernetes/super-admin.conf"
_LEASE_OLD = 60.0
"""Seconds. Leaders renew every two, and another takes over fifteen after they stop."""
_LOCAL_MODE = (31, 32)
"""Minors in which kubeadm sends a master's kubelet through the load balancer, where nobody switched that off."""


def _lines(view: View, host: str) -> Said | None:
    return said(view.facts(host), control_plane(view.cluster.host_named(host)))


def _names(view: View, host: str) -> frozenset[str] | None:
    """Of the API server's certificate; None where it was not told or cannot be read, which cert.expiry tells."""
    for line in (said(view.facts(host), CERTIFICATES) or {}).get("certificate", ()):
        path, _, text = line.partition("\t")
        if path == _APISERVER:
            try:
                return names_of(text) or None
            except (ValueError, IndexError):
                return None
    return None


def _plain(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def _sans(view: View, host: str) -> Verdict:
    names = _names(view, host)
    if names is None:
        return Skipped("the API server's certificate was not told")
    cluster, address = view.cluster, view.cluster.host_named(host).node_address
    needed = tuple(map(_plain, (cluster.endpoint_name, address)))
    more = tuple(map(_plain, (cluster.endpoint_address, *cluster.kubeadm.cert_sans)))
    missing = [name for name in dict.fromkeys((*needed, *more)) if name not in names]
    if not missing:
        return OK
    # The node's name is not the machine's, which kubeadm would put in.
    sans = ",".join(
        sorted({host, *needed, *more, *(h.node_address for h in (*cluster.hosts.lb, *cluster.hosts.masters))})
    )
    return Finding(
        f"its API server's certificate is not for {', '.join(missing)}",
        f"{_APISERVER}: {', '.join(sorted(names))}",
        "the endpoint, an address or `kubeadm.cert_sans` was changed after the certificate was made: who calls the API "
        "by that name is refused by his own client",
        on_host(
            host,
            f"cd /etc/kubernetes/pki && rm apiserver.crt apiserver.key && kubeadm init phase certs apiserver "
            f"--kubernetes-version v{cluster.versions.kubernetes} --apiserver-advertise-address {address} "
            f"--control-plane-endpoint {cluster.endpoint_name}:{cluster.endpoint_port} "
            f"--service-cidr {cluster.network.service_cidr} --service-dns-domain {cluster.network.dns_domain} "
            f"--apiserver-cert-extra-sans {sans} && pkill -f ^kube-apiserver",
        ),
        severity=None if set(missing) & set(needed) else Severity.WARNING,
    )


def _flags_of(view: View, host: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Component → flag → values, with the node's own address taken out: that differs rightly."""
    own = view.cluster.host_named(host)
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for line in (_lines(view, host) or {}).get("flag", ()):
        file, _, text = line.partition(":")
        name, _, value = text.strip().removeprefix("- --").partition("=")
        value = re.sub(rf"(?<![\w.]){re.escape(own.node_address)}(?![\w.])", "(its own)", value.strip("\"' "))
        flags = found.setdefault(file.removesuffix(".yaml"), {})
        flags[name] = tuple(sorted((*flags.get(name, ()), value)))
    return found


def _flags(view: View, _: str) -> Verdict:
    told = {m.name: flags for m in view.cluster.hosts.masters if (flags := _flags_of(view, m.name))}
    if len(told) < 2:
        return OK if len(view.cluster.hosts.masters) == 1 else Skipped("fewer than two masters told their flags")
    found = []
    for component in dict.fromkeys(name for flags in told.values() for name in flags):
        of = {host: flags[component] for host, flags in told.items() if component in flags}
        differ = [n for n in sorted({n for f in of.values() for n in f}) if len({f.get(n) for f in of.values()}) > 1]
        if not differ:
            continue
        shapes = {host: tuple(flags.get(n) for n in differ) for host, flags in of.items()}
        usual = Counter(shapes.values()).most_common(1)[0][0]
        odd = tuple(host for host, shape in shapes.items() if shape != usual)
        ill = any(_is_down(view, host, component) for host in odd)
        how = (
            "is started with other flags than the others, and is not ready"
            if ill
            else "runs with other flags than the others"
        )
        found.append(
            Finding(
                f"{component} of {', '.join(odd)} {how}: {', '.join(differ)}",
                "\n".join(
                    f"{host}: --{name}={','.join(of[host].get(name) or ('(not set)',))}"[:300]
                    for name in differ[:4]
                    for host in of
                ),
                "its manifest was edited by hand, or the cluster's configuration was changed and not brought to all",
                written_anew(view.cluster.host_named(odd[0]), component),
                hosts=odd,
                # A flag that it does not take, or does not work with: then this is the cause.
                severity=Severity.ERROR if ill else None,
            )
        )
    return tuple(found) if found else OK


def _is_down(view: View, host: str, component: str) -> bool:
    if component == "kube-apiserver":
        return own_server(view, host)[0] is False
    return host in not_running_on(view, component, "kube-system")


def _leaders(view: View, _: str) -> Verdict:
    system = view.facts(view.a_master).value(SYSTEM)
    now = view.now.timestamp() if system is None else system.clock
    old = {}
    asked = False
    for lease in LEASES:
        there = view.api(lease)
        if there is None or isinstance(there, Absent):
            continue
        asked = True
        spec = there.get("spec") or {}
        try:
            since = now - datetime.fromisoformat(str(spec.get("renewTime")).replace("Z", "+00:00")).timestamp()
        except ValueError:
            continue
        if since > _LEASE_OLD:
            old[lease.name] = (
                f"{since:.0f} s ago by {str(spec.get('holderIdentity', '')).partition('_')[0] or 'nobody'}"
            )
    if not old:
        return OK if asked else NO_API
    return Finding(
        f"nobody works as {' and '.join(old)}",
        "\n".join(f"Lease kube-system/{name}: last renewed {words}" for name, words in old.items()),
        "each of them runs and does not get through to the API, or none runs: nothing new is started in the cluster",
        kubectl(view.a_master, f"-n kube-system logs -l component={next(iter(old))} --tail=20"),
    )


def _super_admin(view: View, _: str) -> Verdict:
    there = tuple(
        m.name
        for m in view.cluster.hosts.masters
        for line in (said(view.facts(m.name), CERTIFICATES) or {}).get("certificate", ())
        if line.startswith(f"{_SUPER_ADMIN}\t")
    )
    if not there:
        return OK
    return Finding(
        f"a key that no rule can bind lies on {', '.join(there)}: {_SUPER_ADMIN}",
        "its group is system:masters",
        "kubeadm leaves it on the first master; admin.conf is enough for everything, and kubeadm makes it again",
        on_host(there[0], f"rm {_SUPER_ADMIN}"),
        hosts=there,
    )


def _local_mode(view: View, _: str) -> Verdict:
    if minor_of(view.cluster.versions.kubernetes) not in _LOCAL_MODE:
        return OK
    away = {}
    for master in view.cluster.hosts.masters:
        server = " ".join((_lines(view, master.name) or {}).get("server", ()))
        if server and master.node_address not in server:
            away[master.name] = server
    if not away:
        return OK
    name = next(iter(away))
    server = https_url(view.cluster.host_named(name).node_address, MASTER_PORT)
    return Finding(
        f"the kubelet of {', '.join(away)} speaks to the API through the load balancer",
        "\n".join(f"{host}: /etc/kubernetes/kubelet.conf: {text}" for host, text in away.items()),
        "the cluster was made without ControlPlaneKubeletLocalMode: upgraded before the other masters, this kubelet is "
        "newer than the API server that it meets, and starts no pods",
        on_host(
            name, f"sed -i 's#server: .*#server: {server}#' /etc/kubernetes/kubelet.conf && systemctl restart kubelet"
        ),
        hosts=tuple(away),
    )


def _needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    return (
        frozenset({control_plane(host), CERTIFICATES, CONTAINERS})
        if cluster.role(host.name) == "master"
        else frozenset()
    )


def _system(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    return frozenset({SYSTEM}) if cluster.role(host.name) == "master" else frozenset()


SANS = Check(
    "api.san",
    "Is each API server's certificate for the names that it is called by?",
    Severity.ERROR,
    _sans,
    "The endpoint's name and the master's own address must be among the names of the certificate; the endpoint's "
    "address and `kubeadm.cert_sans` are a warning.",
    roles=MASTER,
    needs=_needs,
    depends_on=("cert.expiry",),
)

FLAGS = Check(
    "cp.flags",
    "Do all masters run with the same flags?",
    Severity.WARNING,
    _flags,
    "Compares the flags of API server, controller manager and scheduler in the manifests of all masters, without what "
    "is a master's own. With differing ones it depends on the load balancer what the API does.",
    scope="cluster",
    needs=_needs,
    depends_on=("cp.manifest",),
)

LEADERS = Check(
    "cp.leader",
    "Does somebody lead as controller manager and as scheduler?",
    Severity.ERROR,
    _leaders,
    "Of each only one works, and renews its lease every two seconds. A lease that was not renewed for a minute has "
    "nobody behind it.",
    scope="cluster",
    roles=MASTER,
    needs=_system,
    api=asks_api(*LEASES),
    depends_on=("host.time", "cp.manifest", "cert.expiry", "etcd.quorum", "api.server", "api.lb", "cp.controllers"),
)

MASTERS_ADVICE: tuple[Check, ...] = (
    Check(
        "cert.superadmin",
        "Is there a key that no rule can bind?",
        Severity.WARNING,
        _super_admin,
        "super-admin.conf bypasses all of RBAC, for the day on which RBAC itself is broken. It is best kept elsewhere, "
        "with the backups' key.",
        scope="cluster",
        needs=_needs,
        advice=True,
    ),
    Check(
        "kubelet.localmode",
        "Do masters' kubelets speak to their own API server?",
        Severity.WARNING,
        _local_mode,
        "Asked for 1.31 and 1.32, where it matters at the next upgrade; from 1.33 on kubeadm sees to it. Clusters that "
        "`up` made have it.",
        scope="cluster",
        needs=_needs,
        advice=True,
    ),
)
