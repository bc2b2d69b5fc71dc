"""A healthy platform in memory, and ways to make it sick."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from mlops_infra.core import (
    ABSENT,
    API,
    UNKNOWN,
    Change,
    CommandFact,
    Facts,
    HostProblem,
    Kind,
    Plan,
    PlannedStep,
    Probe,
    Shell,
    StatFact,
    StepId,
    SystemFact,
    UnitFact,
)
from mlops_infra.doctor import probes as p
from mlops_infra.doctor.catalogue import CHECKS
from mlops_infra.doctor.diagnosis import Diagnosed, Diagnosis, diagnose
from mlops_infra.doctor.outside import Answered, Target
from mlops_infra.doctor.pods import API_ENDPOINTS, DNS_ENDPOINTS
from mlops_infra.doctor.view import Backup, Local, View
from mlops_infra.engine.observation import Observation
from mlops_infra.model.cluster import Cluster

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RUNNING = UnitFact("loaded", "active", "running", "enabled", needs_reload=False)
STOPPED = UnitFact("loaded", "inactive", "dead", "enabled", needs_reload=False)
MASKED = UnitFact("masked", "inactive", "dead", "masked", needs_reload=False)
RESTARTING = UnitFact("loaded", "activating", "auto-restart", "enabled", needs_reload=False)
FILE = StatFact("file", 0o600, "root", "root", 9)
DISK = "disk\t/dev/sda 1000000 400000 600000 40% /\n"
HEALTHY = "HTTP/1.0 200 OK"
APISERVER = "/etc/kubernetes/pki/apiserver.crt"


def cluster_of(**more: Any) -> Cluster:
    return Cluster.model_validate(
        {
            "name": "c",
            "ssh": {"user": "u"},
            "hosts": {
                "lb": [{"name": "lb1", "address": "10.0.0.20"}],
                "masters": [{"name": f"m{i}", "address": f"10.0.0.{i}"} for i in (1, 2, 3)],
                "workers": [{"name": f"w{i}", "address": f"10.0.0.1{i}"} for i in (1, 2)],
            },
            # What is watched has advice of its own, which tests of monitoring ask for.
            "monitoring": {"enabled": False},
            **more,
        }
    )


def member(name: str, number: int, **more: Any) -> dict[str, Any]:
    return {"ID": str(160 + number), "name": name, "peerURLs": [f"https://10.0.0.{number}:2380"], **more}


def status_line(size: int = 1000, **more: Any) -> str:
    """As etcd's JSON gateway says it: large numbers are strings, what is zero is left out."""
    return json.dumps(
        {
            "header": {"member_id": "161", "revision": "5000"},
            "version": "3.5.15",
            "dbSize": str(size),
            "leader": "161",
            "raftAppliedIndex": "6000",
            **more,
        }
    )


def end_of(when: datetime, names: tuple[str, ...] = ()) -> str:
    """A certificate that ends then, as the script tells it; no more than its fields before the subject, and names."""

    def der(tag: int, *inside: bytes) -> bytes:
        content = b"".join(inside)
        size = len(content)
        return bytes([tag, *([size] if size < 128 else [0x82, size >> 8, size & 255])]) + content

    validity = der(0x30, der(0x17, b"200101000000Z"), der(0x17, f"{when:%y%m%d%H%M%SZ}".encode()))
    fields = (der(0xA0, der(2, b"\2")), der(2, b"\7"), der(0x30), der(0x30), validity)
    if names:
        alternatives = der(0x30, *(_general_name(name, der) for name in names))
        fields += (der(0xA3, der(0x30, der(0x30, der(6, b"\x55\x1d\x11"), der(4, alternatives)))),)
    return b64encode(der(0x30, der(0x30, *fields))).decode()


def _general_name(name: str, der: Callable[..., bytes]) -> bytes:
    try:
        return der(0x87, ip_address(name).packed)
    except ValueError:
        return der(0x82, name.encode())


def containers(*names: str, state: str = "CONTAINER_RUNNING", restarts: int = 0) -> str:
    lines = []
    for number, full in enumerate(names):
        space, name = full.split("/")
        lines += [
            f'      "id": "{number}abc",',
            f'        "name": "{name}",',
            f'        "attempt": {restarts}',
            f'      "state": "{state}",',
            f'        "io.kubernetes.pod.name": "{name}-x1",',
            f'        "io.kubernetes.pod.namespace": "{space}"',
        ]
    return "\n".join(lines)


SYSTEM_PODS = ("kube-system/kube-proxy", "kube-flannel/kube-flannel")
MASTER_PODS = (
    *SYSTEM_PODS,
    "kube-system/etcd",
    "kube-system/kube-apiserver",
    "kube-system/kube-controller-manager",
    "kube-system/kube-scheduler",
)


def node(name: str, ready: str = "True", message: str = "", **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "message": message, "reason": "KubeletReady"}]
    return {
        "metadata": {"name": name},
        "spec": {"podCIDR": f"10.244.{number_of(name)}.0/24", **spec},
        "status": {"conditions": conditions},
    }


def number_of(name: str) -> int:
    """The last part of a host's address in `cluster_of`."""
    return {"m1": 1, "m2": 2, "m3": 3, "w1": 11, "w2": 12, "lb1": 20}.get(name, 99)


def item(kind: str, name: str, space: str = "shop", minutes: int = 60, **more: Any) -> dict[str, Any]:
    """An object of the API, that old."""
    made = (NOW - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
    metadata = {"name": name, "namespace": space, "creationTimestamp": made}
    return {"kind": kind, "metadata": metadata, **more}


def service(name: str = "web", address: str = "", **more: Any) -> dict[str, Any]:
    """Of type LoadBalancer."""
    given = {"ingress": [{"ip": address}]} if address else {}
    return item("Service", name, spec={"type": "LoadBalancer"}, status={"loadBalancer": given}, **more)


def ingress_service(http: int = 32624, https: int = 31316) -> dict[str, Any]:
    ports = [{"name": "http", "nodePort": http}, {"name": "https", "nodePort": https}]
    return item("Service", "ingress-nginx-controller", "ingress-nginx", spec={"type": "NodePort", "ports": ports})


def lease(seconds: int = 1) -> dict[str, Any]:
    """Last renewed that long ago."""
    renewed = f"{NOW - timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.000000Z}"
    return {"spec": {"holderIdentity": "m2_1234", "renewTime": renewed}}


def flags(name: str, **more: str) -> list[str]:
    """Of a master's manifests, as the script tells them."""
    address = f"10.0.0.{number_of(name)}"
    told = {"advertise-address": address, "etcd-servers": "https://127.0.0.1:2379", **more}
    return [f"kube-apiserver.yaml:- --{key.replace('_', '-')}={value}" for key, value in told.items()] + [
        "kube-scheduler.yaml:- --leader-elect=true"
    ]


def pod(name: str, minutes: int = 60, **more: Any) -> dict[str, Any]:
    """In namespace shop, on w1, that old; `waiting`, `ended`, `restarts` of its container; `deleted`: minutes ago."""
    made = (NOW - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
    state = {"waiting": {"reason": more["waiting"], "message": "said so"}} if "waiting" in more else {"running": {}}
    state = {"terminated": {"exitCode": more["ended"]}} if "ended" in more else state
    container = {"name": "c", "restartCount": more.get("restarts", 0), "state": state}
    gone = (NOW - timedelta(minutes=more["deleted"])).isoformat() if "deleted" in more else None
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": made, "deletionTimestamp": gone},
        "spec": {"nodeName": more.get("node", "w1")},
        "status": {
            "phase": more.get("phase", "Running"),
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/5 nodes are available"}],
            "containerStatuses": [container],
        },
    }


def daemon(ready: int = 5, wanted: int = 5) -> dict[str, Any]:
    return {"status": {"desiredNumberScheduled": wanted, "numberReady": ready}}


def deployment(ready: int = 2, wanted: int = 2) -> dict[str, Any]:
    return {"spec": {"replicas": wanted}, "status": {"readyReplicas": ready}}


def change(resource: str, reason: str = "content differs", diff: str = "") -> Change:
    return Change(resource, resource, Kind.UPDATE, reason, (Shell("x", "x"),), diff)


@dataclass
class Platform:
    """Mutable until `view`. `facts` by host, `api`, `changes` by host, `problems`."""

    cluster: Cluster = field(default_factory=cluster_of)
    facts: dict[str, dict[Probe[Any], Any]] = field(default_factory=dict)
    api: dict[Probe[Any], Any] = field(default_factory=dict)
    api_host: str | None = "m1"
    changes: dict[str, list[Change]] = field(default_factory=dict)
    problems: list[HostProblem] = field(default_factory=list)
    half_done: list[HostProblem] = field(default_factory=list)
    outside: tuple[Answered, ...] = (Answered(Target("api", "lb1", "10.0.0.20", 6443), 200),)
    local: Local = field(default_factory=lambda: Local(backups=(Backup("b", NOW - timedelta(days=1)),)))
    limit: tuple[str, ...] = ()
    with_plan: bool = True

    def __post_init__(self) -> None:
        for number, host in enumerate(self.cluster.all_hosts):
            self.facts[host.name] = self._healthy(host.name, number)
        names = [h.name for h in self.cluster.nodes]
        self.api = {
            p.NODES: tuple(node(name) for name in names),
            p.FLANNEL: daemon(),
            p.KUBE_PROXY: daemon(),
            p.COREDNS: deployment(),
            DNS_ENDPOINTS: {"subsets": [{"addresses": [{"ip": "10.244.0.2"}]}]},
            API_ENDPOINTS: {"subsets": [{"addresses": [{"ip": f"10.0.0.{i}"} for i in (1, 2, 3)]}]},
            p.OBJECTS: (pod("web"), ingress_service()),
            p.INGRESS_CONFIG: {"data": {}},
            **dict.fromkeys(p.LEASES, lease()),
            p.METALLB_CONTROLLER: deployment(1, 1),
            p.METALLB_SPEAKER: daemon(),
            p.METALLB_ENDPOINTS: {"subsets": [{"addresses": [{"ip": "10.1.1.1"}]}]},
            p.METALLB_WEBHOOK: {},
            p.METALLB_POOL: {},
            p.COREFILE: {"data": {"Corefile": ".:53 {\n    forward . /etc/resolv.conf {\n    }\n    loop\n}\n"}},
            p.ingress(self.cluster): deployment(),
            p.INGRESS_LB: {"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.100"}]}}},
        }

    def _healthy(self, name: str, number: int) -> dict[Probe[Any], Any]:
        role = self.cluster.role(name)
        facts: dict[Probe[Any], Any] = {
            p.SYSTEM: SystemFact(
                "debian", "12", "bookworm", "x86_64", "6.1", name, f"id{number}", 2, 4 << 30, NOW.timestamp(), 2,
                (f"10.0.0.{number_of(name)}", f"10.244.{number_of(name)}.0", f"10.244.{number_of(name)}.1"), "kvm",
            ),
            p.MACHINE: CommandFact(0, DISK + "inodes\t/dev/sda 1000 10 990 1% /\nsynchronised\tyes\n"),
        }  # fmt: skip
        if role == "lb":
            rows = [f"api,{m.name},UP,L7OK" for m in self.cluster.hosts.masters]
            rows += [f"ingress-http,{w.name},UP,L4OK" for w in self.cluster.hosts.workers]
            return facts | {
                p.HAPROXY: RUNNING,
                p.HAPROXY_CONFIG: FILE,
                p.BALANCER: CommandFact(0, "checked\t0\n"),
                p.BACKENDS: CommandFact(0, "# pxname,svname,status,check_status,\n" + "\n".join(rows)),
            }
        later = end_of(NOW + timedelta(days=300))
        named = end_of(NOW + timedelta(days=300), ("api.c.internal", "10.0.0.20", f"10.0.0.{number_of(name)}"))
        paths = ["/var/lib/kubelet/pki/kubelet-client-current.pem"]
        if role == "master":
            paths += [APISERVER, "/etc/kubernetes/admin.conf"]
            members = json.dumps({"members": [member(f"m{i}", i) for i in (1, 2, 3)]})
            facts[p.control_plane(self.cluster.host_named(name))] = CommandFact(
                0,
                f"own\t{HEALTHY}\nown\tok\nmembers\t{members}\nstatus\t{status_line()}\n"
                + f"server\thttps://10.0.0.{number_of(name)}:6443\n"
                + "".join(f"flag\t{line}\n" for line in flags(name)),
            )
        info = json.dumps({"status": {"conditions": [{"type": "RuntimeReady", "status": True}]}, "config": {}})
        return facts | {
            p.KUBELET_CONF: FILE,
            p.CONTAINERD: RUNNING,
            p.KUBELET: RUNNING,
            p.SWAPS: (),
            p.CERTIFICATES: CommandFact(
                0, "".join(f"certificate\t{path}\t{named if path == APISERVER else later}\n" for path in paths)
            ),
            p.CONTAINERS: CommandFact(0, containers(*(MASTER_PODS if role == "master" else SYSTEM_PODS))),
            p.kubelet(self.cluster): CommandFact(
                0,
                f"healthz\tHTTP/1.0 200 OK\nproxyz\tHTTP/1.0 200 OK\ncri\t{info}\nendpoint\t{HEALTHY}\n"
                f"ways\t12\ndns\tok\ncni\t10.244.{number_of(name)}.0/24\nmtu\t1450 eth0 1500\n",
            ),
        }

    # ---- making it sick ----------------------------------------------------------------------------------------

    def say(self, host: str, probe: Probe[Any], key: str, *values: str) -> None:
        """Replaces the lines of one key in what a script said."""
        old = self.facts[host][probe].stdout.splitlines()
        kept = [line for line in old if not line.startswith(f"{key}\t")]
        self.facts[host][probe] = CommandFact(0, "\n".join([*kept, *(f"{key}\t{v}" for v in values)]) + "\n")

    def of_kubelet(self, host: str, key: str, *values: str) -> None:
        self.say(host, p.kubelet(self.cluster), key, *values)

    def of_master(self, host: str, key: str, *values: str) -> None:
        self.say(host, p.control_plane(self.cluster.host_named(host)), key, *values)

    def etcd_stops(self, host: str) -> None:
        self.of_master(host, "status")
        self.of_master(host, "members")
        self.of_master(host, "etcd", "not running")

    def lose(self, host: str, kind: str = "TimedOut") -> None:
        self.facts.pop(host)
        self.problems.append(HostProblem(host, f"{host} does not answer", unreachable=True, kind=kind, remedy="look"))

    def api_down(self) -> None:
        self.api, self.api_host = dict.fromkeys(self.api, UNKNOWN), None

    def drift(self, host: str, *resources: str, **more: str) -> None:
        self.changes.setdefault(host, []).extend(change(r, **more) for r in resources)

    # ------------------------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        steps = tuple(PlannedStep(StepId("x", host), tuple(found)) for host, found in self.changes.items())
        seen = Observation(
            {h: Facts(f) for h, f in self.facts.items()}, Facts(self.api), self.api_host, tuple(self.problems)
        )
        plan = Plan("c", steps, (*self.problems, *self.half_done)) if self.with_plan else None
        return View(
            self.cluster, seen, NOW, plan, "" if self.with_plan else "no key", self.outside, self.local, self.limit
        )

    def diagnosis(self) -> Diagnosis:
        return diagnose(CHECKS, self.view)

    @property
    def findings(self) -> tuple[Diagnosed, ...]:
        return self.diagnosis().findings

    @property
    def said(self) -> list[tuple[str, str]]:
        """Check and host of each finding, in order."""
        return [(f.check, f.host) for f in self.findings]

    @property
    def only(self) -> Diagnosed:
        """The one finding there is."""
        (found,) = self.findings
        return found


__all__ = ["ABSENT", "API", "Mapping", "Platform", "replace"]
