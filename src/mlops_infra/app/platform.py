"""A platform that can be looked at and worked on: cluster.yaml, its phases and an engine over real hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mlops_infra.app.context import SiteContext, open_site
from mlops_infra.app.inputs import phase_context
from mlops_infra.app.secrets import resolve
from mlops_infra.app.status import PHASE as STATUS
from mlops_infra.app.status import Status, status_of, status_phase
from mlops_infra.core import API, Emit, Event, Phase, Plan, Secret, Step, StepId
from mlops_infra.engine.connect import Master
from mlops_infra.engine.observation import Observation
from mlops_infra.engine.run import Engine, Settings
from mlops_infra.engine.selection import Selection
from mlops_infra.errors import ExitCode, UsageError
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.catalogue import phases_for
from mlops_infra.transport import targets
from mlops_infra.transport.ssh import SshTransport

__all__ = ["Asked", "Platform", "exit_code_of_plan", "open_platform", "scope"]

SUDO_PASSWORD = "sudo"  # noqa: S105 - the name of the secret


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command was asked for: which file, and how much of the platform.

    `phases`: names of phases, which bring what they need with them; None for all. `limit`: names of hosts.
    `looks_only`: nothing but the questions of `status`.
    """

    config: Path
    lab: bool = False
    limit: tuple[str, ...] = ()
    phases: frozenset[str] | None = None
    looks_only: bool = False


@dataclass(slots=True)
class Platform:
    """Use with `open_platform`. `phases` are those of the product, without the questions of `status`."""

    context: SiteContext
    phases: tuple[Phase, ...]
    engine: Engine
    selection: Selection

    @property
    def cluster(self) -> Cluster:
        return self.context.cluster

    @property
    def shown(self) -> tuple[Phase, ...]:
        """The phases and steps of this run, for progress."""
        cut = (replace(p, steps=tuple(s for s in p.steps if self.selection.takes(s.id))) for p in self.phases)
        return tuple(phase for phase in cut if phase.steps)

    def plan(self) -> Plan:
        """What would be done, with notes on what was seen beside it."""
        plan = self.engine.plan()
        orphans = self.status().orphans
        notes = tuple(f"{name} is a node but not in cluster.yaml: it is left alone" for name in orphans)
        return replace(plan, notes=(*plan.notes, *notes))

    def observe(self) -> Observation:
        return self.engine.observe()

    def status(self) -> Status:
        """What the latest observation says."""
        seen = self.engine.observation or self.engine.observe()
        return status_of(self.cluster, seen, self.context.site, self.notes)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(w.message for w in self.context.warnings)


@contextmanager
def open_platform(
    asked: Asked, *, emit: Emit, ask_sudo_password: Callable[[], Secret] | None = None
) -> Iterator[Platform]:
    """Reads the file and makes ready; nothing is connected before the first look. Raises ConfigProblems."""
    context = open_site(asked.config, asked.lab)
    cluster, site = context.cluster, context.site
    _check_limit(cluster, asked.limit)
    site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    transport = _transport(context, ask_sudo_password)
    questions = status_phase(cluster)
    phases = () if asked.looks_only else tuple(phases_for(cluster, phase_context(context)))
    selection = scope((*phases, questions), asked)
    settings = Settings(
        cluster.name,
        tuple(Master(host.name, host.node_address) for host in cluster.hosts.masters),
        site.runs,
        selection,
        tuple(w.message for w in context.warnings),
    )
    engine = Engine(
        transport, targets(cluster, site.config.parent), (*phases, questions), settings, emit=_without_questions(emit)
    )
    try:
        with engine:
            yield Platform(context, phases, engine, selection)
    finally:
        transport.close()


def _transport(context: SiteContext, ask: Callable[[], Secret] | None) -> SshTransport:
    """SSH as this site wants it. Its slow imports begin at once, beside the making of the phases."""
    source, site = context.cluster.ssh.sudo_password, context.site
    if source is not None:
        ask = partial(resolve, source, SUDO_PASSWORD, site)
    if site.lab:
        # The lab's hosts have the addresses of real ones: what ~/.ssh/config says of those is not meant.
        transport = SshTransport(site.known_hosts, ask, ssh_config=None)
    else:
        transport = SshTransport(site.known_hosts, ask)
    threading.Thread(target=transport.preload, daemon=True).start()
    return transport


def scope(phases: Iterable[Phase], asked: Asked) -> Selection:
    """The steps that a command means: the named phases, and all that these stand on; on the named hosts.

    The questions of `status` are always among them.
    """
    hosts = frozenset(asked.limit) or None
    if asked.phases is None:
        return Selection(hosts=hosts)
    steps = {step.id: step for phase in phases for step in phase.steps}
    meant = _closure(steps, {s for s in steps if s.phase in asked.phases and (hosts is None or s.host in hosts)})
    return Selection(
        hosts=hosts or frozenset({s.host for s in meant} | {API}),
        phases=frozenset({s.phase for s in meant} | {STATUS}),
    )


def _closure(steps: dict[StepId, Step], wanted: set[StepId]) -> set[StepId]:
    todo, seen = list(wanted), set(wanted)
    while todo:
        for need in steps[todo.pop()].needs:
            if need not in seen:
                seen.add(need)
                todo.append(need)
    return seen


def exit_code_of_plan(plan: Plan, hosts: int) -> ExitCode:
    """4 beats 3 beats 2: nothing answers, some hosts cannot be judged, there is something to do."""
    silent = {p.host for p in plan.problems if p.unreachable}
    if hosts and len(silent) >= hosts:
        return ExitCode.UNREACHABLE
    if plan.problems:
        return ExitCode.PARTLY
    return ExitCode.DONE if plan.is_empty else ExitCode.CHANGES


def _check_limit(cluster: Cluster, limit: Iterable[str]) -> None:
    names = [host.name for host in cluster.all_hosts]
    for name in limit:
        if name not in names:
            raise UsageError(f"--limit {name}: there is no such host", remedy=f"There are {', '.join(names)}.")


def _without_questions(emit: Emit) -> Emit:
    def pass_on(event: Event) -> None:
        if event.step is None or event.step.phase != STATUS:
            emit(event)

    return pass_on
