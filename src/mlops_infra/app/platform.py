"""A platform that can be looked at and worked on: cluster.yaml, its phases and an engine over real hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_infra.app.context import SiteContext, open_site
from mlops_infra.app.inputs import phase_context
from mlops_infra.app.judgement import asked_first, problems_of, remarks_of
from mlops_infra.app.reach import targets, transport_of
from mlops_infra.app.status import Status, status_of, status_questions
from mlops_infra.core import API, Emit, OperationState, Phase, Plan, Probe, Secret, Step, StepId, closure_of
from mlops_infra.engine.connect import Master
from mlops_infra.engine.observation import Observation
from mlops_infra.engine.planner import plan_steps
from mlops_infra.engine.run import Engine, Settings
from mlops_infra.engine.selection import Selection
from mlops_infra.errors import ExitCode, UsageError
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases import lb
from mlops_infra.phases.catalogue import phases_for
from mlops_infra.phases.metallb import pending
from mlops_infra.phases.preflight import Finding, judge
from mlops_infra.phases.seed import choose_seed
from mlops_infra.transport.ssh import SshTransport

__all__ = ["Asked", "Platform", "Questions", "exit_code_of_plan", "open_platform", "scope"]

Questions = Mapping[str, frozenset[Probe[Any]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command was asked for: which file, and how much of the platform.

    `phases`: names of phases, which bring what they need with them; None for all. `limit`: names of hosts.
    `adopt`: a cluster that somebody else built may be taken over.
    """

    config: Path
    lab: bool = False
    limit: tuple[str, ...] = ()
    phases: frozenset[str] | None = None
    adopt: bool = False


class Platform:
    """Use with `open_platform`. Looks as often as it likes; an engine applies once."""

    def __init__(self, context: SiteContext, asked: Asked, transport: SshTransport, emit: Emit) -> None:
        self.context = context
        self.asked = asked
        self.phases: tuple[Phase, ...] = ()
        self.findings: tuple[Finding, ...] = ()
        self._transport = transport
        self._emit = emit
        self._engine: Engine | None = None

    @property
    def cluster(self) -> Cluster:
        return self.context.cluster

    @property
    def engine(self) -> Engine:
        """Of the phases, once `plan` or `look` was called."""
        if self._engine is None:
            raise RuntimeError("nothing was looked at yet")
        return self._engine

    @property
    def shown(self) -> tuple[Phase, ...]:
        """The phases and steps of this run, for progress."""
        taken = self.engine.settings.selection.takes
        cut = (replace(p, steps=tuple(s for s in p.steps if taken(s.id))) for p in self.phases)
        return tuple(phase for phase in cut if phase.steps)

    @property
    def hosts_meant(self) -> int:
        """How many hosts a look over this selection speaks to."""
        named = self.engine.settings.selection.hosts
        return sum(1 for h in self.cluster.all_hosts if named is None or h.name in named)

    def plan(self) -> Plan:
        """What would be done. Preflight's refusals are among the problems, its warnings and orphans among the notes."""
        if self.asked.phases is None:
            self._expect()
        questions = _merged(status_questions(self.cluster), asked_first(self.cluster))
        plan = self._plan_with(None, questions)
        seen = self._seen()
        seed = choose_seed(self.cluster, seen.facts)
        selection = scope(self.phases, self.asked, seen)
        if seed != self.cluster.hosts.masters[0].name or selection != self.engine.settings.selection:
            # The cluster lives on another master than the file's first: steps that join through it look different.
            # Or it is still to be made, and the load balancers have to be looked at too.
            self.engine.close()
            plan = self._plan_with(seed, questions, seen)
            seen = self._seen()
        self.findings = judge(self.cluster, {**seen.facts, API: seen.api}, adopt=self.asked.adopt)
        return replace(
            plan,
            problems=(*plan.problems, *problems_of(self.findings)),
            notes=(*plan.notes, *remarks_of(self.findings), *self._orphan_notes()),
        )

    def look(self, more: Questions | None = None) -> Observation:
        """Asks for the status only, and for `more`; on the hosts of `--limit` where there is one."""
        if self._engine is None:
            cluster = self.cluster
            everyone = tuple(Step("look", h.name) for h in cluster.all_hosts)
            self._engine = self._engine_for((Phase("look", "Look", everyone),))
        return self.engine.observe(_merged(status_questions(self.cluster), more or {}))

    def survey(self, more: Questions | None = None) -> Plan:
        """One look with the phases' questions, the status's and `more`; the plan that it gives, without a second look.

        For those who judge by the same answers: one channel a host. Raises InfraError where the phases cannot be made.
        """
        self._expect()
        questions = _merged(_merged(status_questions(self.cluster), asked_first(self.cluster)), more or {})
        self.phases = tuple(phases_for(self.cluster, phase_context(self.context)))
        self._engine = self._engine_for(self.phases)
        seen = self._engine.observe(questions)
        seed = choose_seed(self.cluster, seen.facts)
        if seed != self.cluster.hosts.masters[0].name:
            self.phases = tuple(phases_for(self.cluster, phase_context(self.context, seed)))
        taken = self._engine.settings.selection.takes
        chosen = frozenset(s.id for p in self.phases for s in p.steps if taken(s.id))
        return plan_steps(self.phases, seen, cluster=self.cluster.name, chosen=chosen)

    def engine_over(self, hosts: Iterable[str]) -> Engine:
        """A second engine that only looks, at these hosts; close it after use."""
        return self._engine_for((Phase("look", "Look", tuple(Step("look", name) for name in hosts)),))

    def narrow(self, phases: Iterable[Phase]) -> None:
        """From now on the engine is one of these phases alone, on whatever hosts they name."""
        self.engine.close()
        self.phases = tuple(phases)
        self._engine = self._engine_for(self.phases, Selection())

    def status(self) -> Status:
        """What the latest look says."""
        return status_of(self.cluster, self._seen(), self.context.site, self._warnings())

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._transport.close()

    # ------------------------------------------------------------------------------------------------------------

    def _expect(self) -> None:
        """Hosts shake hands while the phases are made."""
        limit = self.asked.limit
        reached = targets(self.cluster, self.context.site.config.parent)
        self._transport.expect(target for name, target in reached.items() if not limit or name in limit)

    def _plan_with(self, seed: str | None, questions: Questions, before: Observation | None = None) -> Plan:
        self.phases = tuple(phases_for(self.cluster, phase_context(self.context, seed)))
        self._engine = self._engine_for(self.phases, scope(self.phases, self.asked, before))
        return self._engine.plan(more=questions)

    def _engine_for(self, phases: tuple[Phase, ...], selection: Selection | None = None) -> Engine:
        cluster, site = self.cluster, self.context.site
        settings = Settings(
            cluster.name,
            tuple(Master(host.name, host.node_address) for host in cluster.hosts.masters),
            site.runs,
            scope(phases, self.asked) if selection is None else selection,
            self._warnings(),
        )
        return Engine(self._transport, targets(cluster, site.config.parent), phases, settings, emit=self._emit)

    @property
    def seen(self) -> Observation:
        """The latest look."""
        return self._seen()

    def _seen(self) -> Observation:
        seen = self.engine.observation
        if seen is None:
            raise RuntimeError("nothing was looked at yet")
        return seen

    def _warnings(self) -> tuple[str, ...]:
        """What is true whatever the hosts say: versions past their end, and what is pending."""
        return (*(w.message for w in self.context.warnings), *pending(self.cluster))

    def _orphan_notes(self) -> tuple[str, ...]:
        return tuple(f"{n} is a node but not in cluster.yaml: it is left alone" for n in self.status().orphans)


@contextmanager
def open_platform(
    asked: Asked, *, emit: Emit, ask_sudo_password: Callable[[], Secret] | None = None
) -> Iterator[Platform]:
    """Reads the file and makes ready; nothing is connected before the first look. Raises ConfigProblems."""
    context = open_site(asked.config, asked.lab)
    _check_limit(context.cluster, asked.limit)
    context.site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    platform = Platform(context, asked, transport_of(context, ask_sudo_password), emit)
    try:
        yield platform
    finally:
        platform.close()


def scope(phases: Iterable[Phase], asked: Asked, seen: Observation | None = None) -> Selection:
    """The steps that a command means: the named phases, and all that these stand on; on the named hosts.

    `seen` tells whether the cluster is still to be made: then the load balancers in front of it are meant too.
    """
    hosts = frozenset(asked.limit) or None
    if asked.phases is None:
        return Selection(hosts=hosts)
    steps = {step.id: step for phase in phases for step in phase.steps}
    named = {s for s in steps if s.phase in asked.phases and (hosts is None or s.host in hosts)}
    meant = closure_of(named, lambda step: steps[step].needs)
    if seen is not None:
        fronts = {s for s in _fronts(steps, meant, seen) if hosts is None or s.host in hosts}
        meant |= closure_of(fronts, lambda step: steps[step].needs)
    return Selection(
        hosts=hosts or frozenset({s.host for s in meant} | {API}), phases=frozenset({s.phase for s in meant})
    )


def _fronts(steps: Mapping[StepId, Step], meant: Iterable[StepId], seen: Observation) -> Iterator[StepId]:
    """Load balancers that an operation still to be run waits for: `kubeadm init` itself calls the endpoint."""
    for step in (steps[s] for s in meant):
        standings = (o.standing(seen.of(step.host)) for o in step.operations if step.host in seen.facts)
        if any(s.state in (OperationState.PENDING, OperationState.UNKNOWN) for s in standings):
            yield from (s for s in step.after if s.phase == lb.NAME)


def exit_code_of_plan(plan: Plan, hosts: int) -> ExitCode:
    """4 beats 3 beats 2: nothing answers, some hosts cannot be judged, there is something to do."""
    silent = {p.host for p in plan.problems if p.unreachable}
    if hosts and len(silent) >= hosts:
        return ExitCode.UNREACHABLE
    if plan.problems:
        return ExitCode.PARTLY
    return ExitCode.DONE if plan.is_empty else ExitCode.CHANGES


def _merged(one: Questions, other: Questions) -> dict[str, frozenset[Probe[Any]]]:
    return {host: one.get(host, frozenset()) | other.get(host, frozenset()) for host in {**one, **other}}


def _check_limit(cluster: Cluster, limit: Iterable[str]) -> None:
    names = [host.name for host in cluster.all_hosts]
    for name in limit:
        if name not in names:
            raise UsageError(f"--limit {name}: there is no such host", remedy=f"There are {', '.join(names)}.")
