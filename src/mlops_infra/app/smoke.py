"""`smoke`: a namespace of its own with a pod on every worker, asked from inside and from outside, and taken away.

The pods run CoreDNS's image, which every kubeadm platform has (docs/decisions/0007): its metrics page, which names the
test's random zone, is what is asked for. Questions from inside are put in the pods' network namespaces, with the hosts'
own bash.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from mlops_infra.app.context import SiteContext
from mlops_infra.app.ending import ended_by_sigterm
from mlops_infra.app.reach import targets
from mlops_infra.app.smoke_checks import (
    Check,
    Deployed,
    Probe,
    Result,
    check_balancer,
    check_dns,
    check_ingress,
    check_node_ports,
    check_pods,
    check_running,
    check_service,
    parse_deployed,
    parse_probes,
    printf_words,
    query,
)
from mlops_infra.app.smoke_probe import ask, can_reach, fetch
from mlops_infra.core import https_url
from mlops_infra.errors import ExitCode, InfraError, UnreachableError
from mlops_infra.model.hosts import MASTER_PORT, Host
from mlops_infra.render import render
from mlops_infra.transport import Session, Transport
from mlops_infra.transport.errors import explain

__all__ = ["Smoke", "run_smoke"]

LABEL = "app.kubernetes.io/managed-by=mlops-infra-smoke"
PATIENCE = 30
"""Seconds that one question is repeated."""
START = 45
"""Seconds that pods have to start and a Service to get its address."""
MOST_NODES = 10
"""Of a large platform this many workers, spread over the file, take part: every pair of them is asked."""
COMMAND = "exec bash -s"


@dataclass(frozen=True, slots=True)
class Smoke:
    """What was found. `cleaned`: the namespace is gone or going; else why not."""

    namespace: str
    checks: tuple[Check, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    not_cleaned: str = ""

    @property
    def ok(self) -> bool:
        return not self.not_cleaned and all(c.result is not Result.FAILED for c in self.checks)

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.CHANGES


@dataclass(slots=True)
class _Site:
    """The hosts of a smoke test, and the names of what it makes."""

    context: SiteContext
    transport: Transport
    token: str
    nodes: tuple[Host, ...]
    started: int
    sessions: dict[str, Session] = field(default_factory=dict)
    lock_guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def namespace(self) -> str:
        return f"mlops-infra-smoke-{self.token}"

    @property
    def patience(self) -> int:
        return PATIENCE

    @property
    def host(self) -> str:
        return f"{self.token}.smoke.mlops-infra.invalid"

    @property
    def lock(self) -> str:
        return f"/run/mlops-infra/smoke-{self.token}.lock"

    def session(self, name: str) -> Session:
        with self.lock_guard:
            if name in self.sessions:
                return self.sessions[name]
        session = self.transport.connect(targets(self.context.cluster, self.context.site.config.parent)[name])
        with self.lock_guard:
            return self.sessions.setdefault(name, session)

    def say(self, name: str, script: str, deadline: float) -> str:
        """One exchange. Raises InfraError."""
        reply = self.session(name).exchange(COMMAND, script.encode(), deadline=deadline)
        if reply.rc != 0:
            raise explain(reply, name) or InfraError(
                "the smoke test's script failed there", host=name, details=reply.stderr[-600:]
            )
        return reply.stdout.decode("utf-8", "replace")


def run_smoke(
    context: SiteContext,
    transport: Transport,
    tell: Callable[[str], None],
    *,
    limit: Sequence[str] = (),
    full: bool = False,
) -> Smoke:
    """The whole of it; with `full` an ML service, a volume and monitoring too, and every worker.

    Raises UnreachableError where no master answers; what was made is taken away in any case.
    """
    begun = time.monotonic()
    cluster = context.cluster
    candidates = cluster.hosts.workers or cluster.hosts.masters
    chosen = [n for n in candidates if not limit or n.name in limit] or list(candidates)
    nodes = _spread(chosen, len(chosen) if full else MOST_NODES)
    site = _Site(context, transport, secrets.token_hex(4), nodes, int(time.time()))
    with ended_by_sigterm():
        tell("finding a master that answers")
        # Workers and the load balancer are connected to meanwhile.
        for name in [n.name for n in nodes] + [b.name for b in cluster.hosts.lb]:
            threading.Thread(target=partial(_warm, site, name), daemon=True).start()
        masters = _masters(site)
        left = ""
        made_on: list[str] = []
        checks: tuple[Check, ...] = ()
        notes: tuple[str, ...] = ()
        try:
            tell(f"a pod on {', '.join(n.name for n in nodes)}, Services, an Ingress")
            deployed, seconds = _deploy(site, masters, made_on)
            tell("asking from inside and from outside")
            probes, notes = _ask_all(site, deployed, made_on[-1])
            checks = _judge(site, deployed, probes, seconds)
            if full:
                checks += _full(site, deployed, made_on[-1], tell)
        finally:
            if made_on:
                tell("taking it away")
                left = _clean(site, made_on + [m for m in masters if m not in made_on])
    return Smoke(site.namespace, checks, round(time.monotonic() - begun, 2), notes, left)


def _full(site: _Site, deployed: Deployed, master: str, tell: Callable[[str], None]) -> tuple[Check, ...]:
    from mlops_infra.app.smoke_full import full_checks  # noqa: PLC0415 - the quick half needs none of it

    outside = "" if _from_this_machine(site) else next((b.name for b in site.context.cluster.hosts.lb), master)
    server, entrance = _server(site, master), _entrance(site)
    try:
        return full_checks(site, deployed, master=master, server=server, entrance=entrance, outside=outside, tell=tell)
    except InfraError as error:
        why = "The master that the test was made on answers no more."
        lost = (error.brief, why, "mlops-infra status")
        return (Check("full", "the rest of the full test", Result.FAILED, master, *lost),)


def _from_this_machine(site: _Site) -> bool:
    cluster = site.context.cluster
    return cluster.ssh.bastion is None and can_reach(cluster.endpoint_address, cluster.endpoint_port)


def _warm(site: _Site, name: str) -> None:
    try:
        site.session(name)
    except InfraError:
        return  # told by whoever needs it


def _spread(nodes: Sequence[Host], most: int) -> tuple[Host, ...]:
    if len(nodes) <= most:
        return tuple(nodes)
    return tuple(nodes[i * len(nodes) // most] for i in range(most))


def _masters(site: _Site) -> list[str]:
    """The masters that can be reached, in the order in which they answered; not waiting for the slow ones."""
    names = [h.name for h in site.context.cluster.hosts.masters]
    answers: queue.Queue[tuple[str, InfraError | None]] = queue.Queue()

    def connect(name: str) -> None:
        try:
            site.session(name)
            answers.put((name, None))
        except InfraError as error:
            answers.put((name, error))

    for name in names:
        threading.Thread(target=connect, args=(name,), daemon=True).start()
    told: list[str] = []
    for _ in names:
        name, problem = answers.get()
        if problem is None:
            return [name, *(n for n in names if n != name)]
        told.append(f"{name}: {problem.brief}")
    raise UnreachableError("no master can be reached", details="\n".join(told), remedy="mlops-infra hosts ping")


def _deploy(site: _Site, masters: Sequence[str], made_on: list[str]) -> tuple[Deployed, float]:
    """On the first master whose API server is ready. Appends that master before anything is made there."""
    names = {"namespace": site.namespace, "token": site.token}
    objects = render("smoke/objects.yaml.j2", **names, started=site.started, nodes=[n.name for n in site.nodes])
    asked_for = site.context.cluster.metallb.asked_for()
    told: list[str] = []
    for name in masters:
        begun = time.monotonic()
        script = render(
            "smoke/deploy.sh.j2",
            server=_server(site, name), lock=site.lock, label=LABEL, started=site.started, namespace=site.namespace,
            objects=objects.rstrip(), patience=START,
            balancer=render("smoke/balancer.yaml.j2", **names, annotations=asked_for).rstrip(),
            ingress=render("smoke/ingress.yaml.j2", **names, host=site.host).rstrip(),
        )  # fmt: skip
        try:
            site.session(name)
            made_on.append(name)
            deployed = parse_deployed(site.say(name, script, START + 60.0))
        except InfraError as error:
            told.append(f"{name}: {error.brief} {error.details}")
            continue
        kind, _, text = deployed.problem.partition(" ")
        if not kind:
            return deployed, time.monotonic() - begun
        told.append(f"{name}: {text}")
        if kind != "no-api":
            break
        made_on.remove(name)  # it has ended before it made anything
    raise InfraError(
        "the smoke test could not be begun",
        details="\n".join(told),
        cause="No API server is ready, CoreDNS is not installed, or the API refuses the test's objects.",
        remedy="mlops-infra status",
    )


def _server(site: _Site, master: str) -> str:
    return https_url(site.context.cluster.host_named(master).node_address, MASTER_PORT)


# --- asking -----------------------------------------------------------------------------------------------------------


def _service_name(site: _Site) -> str:
    return f"smoke.{site.namespace}.svc.{site.context.cluster.network.dns_domain}"


def _ask_all(site: _Site, deployed: Deployed, master: str) -> tuple[list[Probe], tuple[str, ...]]:
    """Everybody at once: each worker's pod, a host on the node network, and this machine."""
    cluster = site.context.cluster
    probes: list[Probe] = []
    notes: list[str] = []
    from_here = _from_this_machine(site)
    outside = [b.name for b in cluster.hosts.lb] or [master]
    questions = _outside(site, deployed, with_http=not from_here)

    def inside(name: str) -> list[Probe]:
        others = [(node, address) for node, address in deployed.pods.items() if node != name]
        script = render(
            "smoke/inside.sh.j2",
            token=site.token, patience=PATIENCE, namespace=site.namespace, pods=others, service=deployed.service,
            query=printf_words(query(_service_name(site))),
        )  # fmt: skip
        return list(parse_probes(site.say(name, script, PATIENCE + 30.0), name))

    def host_outside() -> list[Probe]:
        script = render("smoke/outside.sh.j2", token=site.token, patience=PATIENCE, questions=questions)
        last: InfraError | None = None
        for name in outside:
            try:
                return list(parse_probes(site.say(name, script, PATIENCE + 30.0), name))
            except InfraError as error:
                last = error
        raise last or InfraError("no host to ask from")

    def attempt(who: str, work: Callable[[], list[Probe]]) -> list[Probe]:
        try:
            return work()
        except InfraError as error:
            notes.append(f"{who} could not be asked: {error.brief}")
            return []

    work = [partial(attempt, node, partial(inside, node)) for node in deployed.pods]
    if questions:
        work.append(partial(attempt, outside[0], host_outside))
    if from_here:
        work += [partial(_one, question) for question in _from_here(site, deployed)]
    else:
        notes.append(f"this machine does not reach the node network: {outside[0]} was asked instead")
    with ThreadPoolExecutor(max(1, min(64, len(work)))) as pool:
        for found in pool.map(lambda job: job(), work):
            probes += found
    return probes, tuple(notes)


def _one(question: Callable[[], Probe]) -> list[Probe]:
    return [question()]


def _entrance(site: _Site) -> str:
    """Where HAProxy serves; empty where nothing of ours does."""
    cluster = site.context.cluster
    return cluster.endpoint_address if cluster.hosts.lb or cluster.lb.external else ""


def _http_questions(site: _Site, deployed: Deployed) -> Iterable[tuple[str, str, int, str, bool]]:
    """Id, address, port, name to ask for, TLS."""
    cluster = site.context.cluster
    if deployed.node_port:
        for node in cluster.nodes:
            yield f"nodeport:{node.name}", node.node_address, deployed.node_port, "smoke", False
    if deployed.balancer:
        yield "lb", deployed.balancer, 80, "smoke", False
    if deployed.ingress_class and (entrance := _entrance(site)):
        yield "ingress-http", entrance, cluster.lb.ingress.http_port, site.host, False
        yield "ingress-https", entrance, cluster.lb.ingress.https_port, site.host, True


def _from_here(site: _Site, deployed: Deployed) -> list[Callable[[], Probe]]:
    return [
        partial(ask, id, fetch(address, port, host, "/metrics", site.token, tls=tls), float(PATIENCE))
        for id, address, port, host, tls in _http_questions(site, deployed)
    ]


def _outside(site: _Site, deployed: Deployed, *, with_http: bool) -> list[tuple[str, list[str]]]:
    """What a host on the node network is asked: ARP always, the rest where this machine cannot."""
    questions = [("arp", ["neighbour", deployed.balancer])] if deployed.balancer else []
    if with_http:
        questions += [
            (id, ["fetch_tls" if tls else "fetch", address, str(port), host, "/metrics"])
            for id, address, port, host, tls in _http_questions(site, deployed)
        ]
    return questions


def _judge(site: _Site, deployed: Deployed, probes: list[Probe], seconds: float) -> tuple[Check, ...]:
    return (
        check_running(deployed, [n.name for n in site.nodes], round(seconds, 2)),
        check_dns(probes, _service_name(site), deployed.service),
        check_pods(probes, [n.name for n in site.nodes]),
        check_service(probes),
        check_node_ports(probes, deployed.node_port),
        *check_balancer(deployed, probes),
        *check_ingress(deployed, probes, _entrance(site)),
    )


# --- leaving ----------------------------------------------------------------------------------------------------------


def _clean(site: _Site, masters: Iterable[str]) -> str:
    """Empty when the namespace is going; else what to do about it. A second Ctrl-C ends this too."""
    told = []
    for name in masters:
        script = render("smoke/clean.sh.j2", server=_server(site, name), lock=site.lock, namespace=site.namespace)
        try:
            site.say(name, script, 45.0)
            return ""
        except InfraError as error:
            told.append(f"{name}: {error.brief}")
    return (
        f"the namespace {site.namespace} could not be taken away ({'; '.join(told)}): the next smoke test does it, "
        f"or kubectl delete namespace {site.namespace}"
    )
