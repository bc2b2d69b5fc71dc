"""What the smoke test's answers mean: pure functions from what was seen to checks with cause and next command."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "Check",
    "Deployed",
    "Probe",
    "Result",
    "addresses_in",
    "check_balancer",
    "check_dns",
    "check_ingress",
    "check_node_ports",
    "check_pods",
    "check_running",
    "check_service",
    "parse_deployed",
    "parse_probes",
    "printf_words",
    "query",
]


class Result(StrEnum):
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question put from one place. `seconds` until it was answered well, or given up."""

    id: str
    source: str
    ok: bool
    seconds: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `source` says from where it was asked."""

    id: str
    title: str
    result: Result
    source: str = ""
    details: str = ""
    cause: str = ""
    remedy: str = ""
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        return self.result is Result.OK


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the master said of the objects. `pods` maps a ready pod's node to its address; `waiting` the others."""

    pods: Mapping[str, str] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()
    service: str = ""
    node_port: int = 0
    balancer: str | None = None
    """The address given; empty: none was; None: there is no pool to give one."""
    ingress_class: str | None = None
    events: tuple[str, ...] = ()
    problem: str = ""


_INGRESS = "Ingress Refused"
"""Of `smoke/deploy.sh`: not an event of the API's, but what it said."""


def parse_deployed(text: str) -> Deployed:
    """The answer of `smoke/deploy.sh`."""
    pods: dict[str, str] = {}
    waiting: list[str] = []
    events: list[str] = []
    one: dict[str, str] = {}
    for line in text.splitlines():
        kind, _, rest = line.removeprefix("= ").partition(" ")
        if line.startswith("! "):
            one["problem"] = line[2:]
        elif kind == "pod":
            words = rest.split(" ")
            name, node, address, ready = (*words, "", "", "", "")[:4]
            if ready == "True" and address:
                pods[node] = address
            else:
                waiting.append(node or name)
        elif kind == "event":
            events.append(rest)
        elif line.startswith("= "):
            one[kind] = rest
    service, _, port = one.get("service", "").partition(" ")
    has_pool = one.get("pool", "none") != "none"
    lb = one.get("lb", "none")
    return Deployed(
        pods,
        tuple(waiting),
        service,
        int(port or 0),
        None if not has_pool else "" if lb == "none" else lb,
        None if one.get("class", "none") == "none" else one["class"],
        tuple(events),
        one.get("problem", ""),
    )


def parse_probes(text: str, source: str) -> tuple[Probe, ...]:
    """Lines `= ID ok|failed NANOSECONDS TEXT`."""
    found = []
    for line in text.splitlines():
        words = line.split(" ", 4)
        if len(words) >= 4 and words[0] == "=" and words[3].isdigit():
            said = words[4] if len(words) > 4 else ""
            found.append(Probe(words[1], source, words[2] == "ok", int(words[3]) / 1e9, said.strip()))
    return tuple(found)


# --- DNS --------------------------------------------------------------------------------------------------------------


def query(name: str, number: int = 0x4D4C) -> bytes:
    """A DNS question for the A record of `name` (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(word)]) + word.encode() for word in name.rstrip(".").split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def printf_words(data: bytes) -> str:
    """Bytes as printf of any sh writes them."""
    return "".join(f"\\{byte:03o}" for byte in data)


def addresses_in(answer: bytes) -> tuple[str, ...]:
    """The A records of a reply; empty where it is none, or says that there is no such name."""
    try:
        _, flags, questions, answers, _, _ = struct.unpack_from(">HHHHHH", answer)
        if not flags & 0x8000 or flags & 0xF:
            return ()
        at = 12
        for _ in range(questions):
            at = _past_name(answer, at) + 4
        found = []
        for _ in range(answers):
            at = _past_name(answer, at)
            kind, _, _, length = struct.unpack_from(">HHIH", answer, at)
            at += 10
            if kind == 1 and length == 4 and len(answer) >= at + 4:
                found.append(".".join(str(b) for b in answer[at : at + 4]))
            at += length
        return tuple(found)
    except (struct.error, IndexError):
        return ()


def _past_name(message: bytes, at: int) -> int:
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += message[at] + 1
    return at + 1


# --- verdicts ---------------------------------------------------------------------------------------------------------


def check_running(deployed: Deployed, wanted: Sequence[str], seconds: float) -> Check:
    """A pod on each worker."""
    missing = [node for node in wanted if node not in deployed.pods]
    title = f"a pod starts on {'each of ' if len(wanted) > 1 else ''}{len(wanted)} node{'s' if len(wanted) > 1 else ''}"
    if not missing:
        return Check("pods-start", title, Result.OK, "the API", seconds=seconds)
    events = "\n".join(dict.fromkeys(e for e in deployed.events if not e.startswith(("smoke-lb", _INGRESS))))
    text = " ".join(deployed.events)
    cause = "The kubelet or containerd there is not well, or the node is not Ready."
    if "pull" in text.lower():
        cause = "The image of CoreDNS cannot be pulled there: registry, mirror or name resolution of that node."
    elif "network" in text.lower() or "sandbox" in text.lower():
        cause = "Flannel does not run there, so that pods get no network."
    elif "FailedScheduling" in text:
        cause = "The scheduler finds no room, or the node is not in the cluster."
    return Check(
        "pods-start", title, Result.FAILED, "the API", f"not on {', '.join(missing)}\n{events}".strip(), cause,
        f"mlops-infra hosts exec --limit {missing[0]} -- journalctl -u kubelet -n 30", seconds,
    )  # fmt: skip


def check_dns(probes: Sequence[Probe], name: str, expected: str) -> Check:
    """Every pod's resolver knows the Service by its name."""
    title, asked = f"DNS resolves {name}", [p for p in probes if p.id == "dns"]
    if not asked:
        return _unasked("dns", title)
    wrong = {}
    for probe in asked:
        try:
            found = addresses_in(bytes.fromhex(probe.text)) if probe.ok else ()
        except ValueError:
            found = ()
        if expected not in found:
            answer = f"it says {', '.join(found)}" if found else "it says that there is no such name"
            wrong[probe.source] = answer if probe.ok else "no answer"
    servers = {p.text for p in probes if p.id == "nameserver"}
    return _verdict(
        "dns", title, asked, wrong,
        "CoreDNS is down or unreachable from there: its pods, or kube-proxy's rules for "
        f"{', '.join(sorted(servers)) or 'its Service'}.",
        "kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide; kubectl -n kube-system logs -l k8s-app=kube-dns",
    )  # fmt: skip


def check_pods(probes: Sequence[Probe], nodes: Sequence[str]) -> Check:
    """Every pod reaches every other one on another node, by its address."""
    title = "pods reach one another across nodes"
    asked = [p for p in probes if p.id.startswith("pods:")]
    if len(nodes) < 2:
        return Check("pods", title, Result.SKIPPED, details="there is only one node with a pod of the test")
    if not asked:
        return _unasked("pods", title)
    wrong = {f"{p.source} → {p.id[5:]}": p.text or "no answer" for p in asked if not p.ok}
    return _verdict(
        "pods", title, asked, wrong,
        "The pod network is broken between these: UDP 8472 (VXLAN) is filtered, or flanneld has the wrong interface.",
        "kubectl -n kube-flannel get pods -o wide; kubectl -n kube-flannel logs ds/kube-flannel-ds",
    )  # fmt: skip


def check_service(probes: Sequence[Probe]) -> Check:
    title, asked = "a Service answers at its cluster address", [p for p in probes if p.id == "service"]
    if not asked:
        return _unasked("service", title)
    return _verdict(
        "service", title, asked, {p.source: p.text or "no answer" for p in asked if not p.ok},
        "kube-proxy's rules are missing on that node.",
        "kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide; kubectl -n kube-system logs ds/kube-proxy",
    )  # fmt: skip


def check_node_ports(probes: Sequence[Probe], port: int) -> Check:
    title, asked = f"NodePort {port} answers on every node", [p for p in probes if p.id.startswith("nodeport:")]
    if not asked:
        return _unasked("nodeport", title)
    return _verdict(
        "nodeport", title, asked, {p.id[9:]: p.text or "no answer" for p in asked if not p.ok},
        "kube-proxy does not run on these nodes, or a firewall filters ports 30000 to 32767.",
        "kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide",
    )  # fmt: skip


def check_balancer(deployed: Deployed, probes: Sequence[Probe]) -> tuple[Check, ...]:
    """An address from MetalLB, that answers ARP and HTTP."""
    arp_title, http_title = "a LoadBalancer address answers ARP", "a LoadBalancer address answers HTTP"
    if deployed.balancer is None:
        why = "no pool of addresses: MetalLB is not installed, or `metallb.pool` is empty"
        return (
            Check("lb-arp", arp_title, Result.SKIPPED, details=why),
            Check("lb-http", http_title, Result.SKIPPED, details=why),
        )
    if not deployed.balancer:
        text = "\n".join(e for e in deployed.events if e.startswith("smoke-lb"))
        return (
            Check(
                "lb-arp", arp_title, Result.FAILED, "the API", text or "the Service got no address",
                "The pool is exhausted, or MetalLB's controller is not well.",
                "mlops-infra metallb status; kubectl -n metallb-system get pods",
            ),
            Check("lb-http", http_title, Result.SKIPPED, details="the Service got no address"),
        )  # fmt: skip
    arp = [p for p in probes if p.id == "arp"]
    http = [p for p in probes if p.id == "lb"]
    where = deployed.balancer
    checks = [_unasked("lb-arp", arp_title)] if not arp else []
    if arp and arp[0].ok and "not on this network" in arp[0].text:
        details = f"{where} is not on the network of {arp[0].source}: a router has to know the way"
        checks = [Check("lb-arp", arp_title, Result.SKIPPED, arp[0].source, details)]
    elif arp:
        mac = arp[0].text.split()
        said = f"{where} is at {mac[0]}{f', the card of {mac[1]}' if len(mac) > 1 else ''}" if arp[0].ok and mac else ""
        verdict = _verdict(
            "lb-arp", arp_title, arp, {p.source: p.text for p in arp if not p.ok},
            "No speaker announces it: MetalLB's speakers are down, or no L2Advertisement names the pool.",
            "mlops-infra metallb status; kubectl -n metallb-system logs -l component=speaker --tail=30",
            details=said,
        )  # fmt: skip
        checks = [verdict]
    if not http:
        checks.append(_unasked("lb-http", http_title))
    else:
        wrong = {f"{where} from {p.source}": p.text or "no answer" for p in http if not p.ok}
        checks.append(
            _verdict(
                "lb-http", http_title, http, wrong,
                "It is announced by a node whose kube-proxy does not serve it, or the network filters the answers.",
                "mlops-infra metallb status; kubectl -n kube-system logs ds/kube-proxy",
            )
        )  # fmt: skip
    return tuple(checks)


def check_ingress(deployed: Deployed, probes: Sequence[Probe], entrance: str) -> tuple[Check, ...]:
    """HTTP and HTTPS at the load balancer, to an Ingress."""
    checks = []
    for id, word in (("ingress-http", "HTTP"), ("ingress-https", "HTTPS")):
        title = f"{word} reaches an Ingress through {entrance or 'the load balancer'}"
        asked = [p for p in probes if p.id == id]
        if deployed.ingress_class is None:
            checks.append(Check(id, title, Result.SKIPPED, details="there is no ingress controller (no IngressClass)"))
        elif not entrance:
            checks.append(Check(id, title, Result.SKIPPED, details="there is no load balancer in front of the workers"))
        elif not asked:
            checks.append(_unasked(id, title))
        else:
            wrong = {p.id: p.text or "no answer" for p in asked if not p.ok}
            text = " ".join(wrong.values())
            where = {entrance: next(iter(wrong.values()))} if wrong else {}
            refused = [e for e in deployed.events if e.startswith(_INGRESS)]
            cause = "HAProxy does not listen there, or has no worker that is up."
            if "503" in text:
                cause = "HAProxy or the controller has nobody to ask: look at which of its servers are up."
            elif "404" in text:
                cause = "The controller does not know the Ingress: another class, or its webhook refused it."
            if where and refused:
                where["the API"] = refused[0]
                cause = "The API did not take the Ingress: the controller's admission webhook does not answer."
            checks.append(
                _verdict(
                    id, title, asked, where, cause,
                    "mlops-infra lb status; kubectl -n ingress-nginx get pods,svc -o wide",
                )
            )  # fmt: skip
    return tuple(checks)


def _verdict(  # noqa: PLR0917
    id: str,
    title: str,
    asked: Sequence[Probe],
    wrong: Mapping[str, str],
    cause: str,
    remedy: str,
    *,
    details: str = "",
) -> Check:
    seconds, source = max(p.seconds for p in asked), _sources(p.source for p in asked)
    if not wrong:
        return Check(id, title, Result.OK, source, details, seconds=seconds)
    text = "\n".join(f"{where}: {said}" for where, said in list(wrong.items())[:8])
    if len(wrong) > 8:
        text += f"\nand {len(wrong) - 8} more"
    return Check(id, title, Result.FAILED, source, text, cause, remedy, seconds)


def _unasked(id: str, title: str) -> Check:
    return Check(id, title, Result.SKIPPED, details="nobody could be asked: what this needs did not come up")


def _sources(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    return ", ".join(found) if len(found) <= 3 else f"{', '.join(found[:2])} and {len(found) - 2} more"
