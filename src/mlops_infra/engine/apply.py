"""Applying a group of steps on one host: diff again, one exchange, verify; then its operations one by one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core import API, Change, Outcome, Probe, Step, StepId, StepResult, Unknown
from mlops_infra.engine.errors import ActionFailed, InDoubt, VerifyFailed
from mlops_infra.engine.exchange import Exchanges
from mlops_infra.engine.manifest import manifest_change
from mlops_infra.engine.observation import (
    ADMIN_KUBECONFIG,
    ETCD_MANIFEST,
    MANIFEST,
    Questions,
    is_api_probe,
    known,
    step_probes,
)
from mlops_infra.engine.payload import Batch, BatchBusy, BatchResult, Frame
from mlops_infra.engine.planner import drift_text
from mlops_infra.engine.quorum import Quorum
from mlops_infra.engine.wire import new_nonce
from mlops_infra.errors import InfraError
from mlops_infra.transport.errors import LinkLost, TimedOut, TransportError, TruncatedAnswer

__all__ = ["Group", "GroupRun", "Program"]

PASSES = 2
"""A batch may move what another resource of the group watches; it is put right by one more, never by a third."""


@dataclass(frozen=True, slots=True)
class Program:
    """What stays the same during a run."""

    run_id: str
    cluster: str
    asked: Questions
    resources: dict[str, tuple[Any, ...]]
    """All resources of a host, of every phase: what the manifest may call ours."""
    quorum: Quorum
    counter: Callable[[], int] = field(default_factory=lambda: itertools.count(1).__next__)


@dataclass(slots=True)
class Group:
    """Steps handed out together and what has come of each so far."""

    steps: tuple[Step, ...]
    host: str
    """The machine they run on: for steps of the API, a master."""
    unfinished: tuple[Step, ...] = ()
    """All steps of that host (or the API) that had not ended when these began."""
    changed: dict[StepId, list[str]] = field(default_factory=dict)
    results: dict[StepId, StepResult] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def scope(self) -> str:
        """Whose facts judge the steps: the host's, or the API's."""
        return self.steps[0].host

    def end(self, step: Step, outcome: Outcome, error: InfraError | None = None) -> None:
        changed = tuple(self.changed.get(step.id, ()))
        said = (error.brief, error.details, error.cause, error.remedy) if error else ("", "", "", "")
        seconds = time.monotonic() - self.began
        self.results[step.id] = StepResult(step.id, outcome, changed, *said, seconds=seconds)

    def fail(self, step: Step, error: InfraError) -> None:
        """This step ends with the error; those behind it are blocked."""
        self.end(step, outcome_of(error), error)
        for other in self.steps[self.steps.index(step) + 1 :]:
            if other.id not in self.results:
                self.results[other.id] = StepResult(
                    other.id, Outcome.BLOCKED, brief=f"{step.phase} on {step.host}: {outcome_of(error)}"
                )

    @property
    def failed(self) -> bool:
        return any(r.outcome not in {Outcome.OK, Outcome.CHANGED} for r in self.results.values())

    def ordered_results(self) -> list[StepResult]:
        return [self.results[step.id] for step in self.steps]

    def end_rest(self) -> None:
        for step in self.steps:
            if step.id not in self.results:
                self.end(step, Outcome.CHANGED if self.changed.get(step.id) else Outcome.OK)


def outcome_of(error: InfraError) -> Outcome:
    if isinstance(error, InDoubt | LinkLost | TruncatedAnswer | TimedOut):
        return Outcome.IN_DOUBT
    return Outcome.UNREACHABLE if isinstance(error, TransportError) and error.exit_code == 4 else Outcome.FAILED


class GroupRun:
    """The resources of one group."""

    def __init__(self, program: Program, exchanges: Exchanges, group: Group) -> None:
        self.program = program
        self.exchanges = exchanges
        self.group = group

    def apply_resources(self) -> None:
        """Afterwards every resource of the group is as declared, or the group has failed."""
        seen: set[str] = set()
        for _ in range(PASSES):
            wanted = self._diff()
            repeated = [c for changes in wanted.values() for c in changes if c.resource in seen]
            if repeated or not wanted:
                break
            if not self._one_batch(wanted):
                return
            seen |= {c.resource for changes in wanted.values() for c in changes}
        self._verify()

    # ------------------------------------------------------------------------------------------------------------

    def _diff(self) -> dict[StepId, list[Change]]:
        facts = self.exchanges.world.of(self.group.scope)
        found = {s.id: [c for r in s.resources if (c := r.diff(facts)) is not None] for s in self.group.steps}
        return {step: changes for step, changes in found.items() if changes}

    def _one_batch(self, wanted: dict[StepId, list[Change]]) -> bool:
        """Send it; False when the group has failed."""
        try:
            self.program.quorum.check_changes(self.group.steps, wanted, self.exchanges.world)
            if self.group.steps[0].knocks:
                self.exchanges.connections.knock(self.group.host)
            try:
                result = self._send(wanted)
            except (LinkLost, TruncatedAnswer, BatchBusy) as error:
                self._recover(error)
                wanted = self._diff()
                if not wanted:
                    return True
                result = self._send(wanted)
        except InfraError as error:
            self._fail_all(wanted, error)
            return False
        if (failed := result.failure) is not None:
            self._attribute(wanted, result, failed)
            return False
        self._keep(wanted, result)
        return True

    def _recover(self, error: InfraError) -> None:
        """A batch may be at work there, ours or one of before: wait for its end, and look what is left to do. Once."""
        if not isinstance(error, BatchBusy):
            self.exchanges.connections.again(self.group.host)
        self.exchanges.wait_until_idle(self.group.host, self.group.steps[0].id)
        self.look_again()

    def _send(self, wanted: dict[StepId, list[Change]]) -> BatchResult:
        world, group = self.exchanges.world, self.group
        changes = [c for step in group.steps for c in wanted.get(step.id, ())]
        if group.scope != API:
            facts = world.of(group.host)
            ours = {r.id for r in self.program.resources[group.host] if r.diff(facts) is None}
            ours |= {c.resource for c in changes}
            changes.append(
                manifest_change(facts, ours, run_id=self.program.run_id, cluster=self.program.cluster),
            )
        names = ", ".join(step.phase for step in group.steps if step.id in wanted)
        return self.exchanges.send(group.host, self.batch(names, tuple(changes)), group.steps[0].id)

    def batch(self, title: str, changes: tuple[Change, ...] = (), **more: Any) -> Batch:
        """A batch of this group; its proof is whatever the host's unfinished steps want to know next."""
        master = self.exchanges.masters.get(self.group.host)
        through_api = self.group.scope == API and master is not None
        return Batch(
            id=f"{self.program.run_id}-{self.program.counter()}",
            nonce=new_nonce(),
            changes=changes,
            verify=self.questions(),
            detached=more.pop("detached", False),
            title=title,
            api=master.endpoint if through_api and master else None,
            **more,
        )

    def questions(self) -> frozenset[Probe[Any]]:
        """What to ask this host now: only for steps that have not ended, so that no answer is waited for twice."""
        asked: set[Probe[Any]] = set()
        for step in (*self.group.unfinished, *self.group.steps):
            asked |= step_probes(step)
        if self.group.scope == API:
            return frozenset(asked)
        always: set[Probe[Any]] = {MANIFEST, ADMIN_KUBECONFIG, ETCD_MANIFEST}
        always &= self.program.asked.hosts[self.group.host]
        return frozenset(p for p in asked | always if not is_api_probe(p))

    def look_again(self) -> None:
        """Ask the same questions without changing anything."""
        self.exchanges.observe(self.group.host, self.questions(), api=self.group.scope == API)

    def learn(self, result: BatchResult) -> None:
        world = self.exchanges.world
        world.learn(self.group.scope, result.facts)
        if self.group.scope == API and result.facts:
            world.api_answered(self.group.host if known(result.facts, result.facts) else None)

    def refresh_api(self, probes: Iterable[Probe[Any]]) -> None:
        """What a host's step asks of the API is asked of a master that answers, in an exchange of its own.

        Where it was never answered in this run it stays unknown: the host's own files decide.
        """
        asked = frozenset(p for p in probes if is_api_probe(p))
        host = self.exchanges.world.api_host
        if asked and host and self.group.scope != API:
            self.exchanges.observe(host, asked, api=True)

    def forget_api(self, probes: Iterable[Probe[Any]]) -> None:
        """What the API said before an operation is no longer true after it; asking again can wait until it matters."""
        stale = [p for p in probes if is_api_probe(p)]
        self.exchanges.world.learn(API, {p: Unknown("not asked since it was changed") for p in stale})

    def _keep(self, wanted: dict[StepId, list[Change]], result: BatchResult) -> None:
        self.learn(result)
        self.refresh_api(p for s in self.group.steps if s.id in wanted for r in s.resources for p in r.probes())
        for step, changes in wanted.items():
            self.group.changed.setdefault(step, []).extend(c.resource for c in changes)

    def _verify(self) -> None:
        left = self._diff()
        for step in self.group.steps:
            if step.id in left and step.id not in self.group.results:
                changes = left[step.id]
                self.group.fail(
                    step,
                    VerifyFailed(
                        f"applied without an error, and yet {changes[0].title} is not as declared",
                        host=self.group.host,
                        details=drift_text(changes),
                        cause="Something else on the host writes the same thing, or undid it at once.",
                        remedy=f"Find what does so on {self.group.host}, then run again (`mlops-infra plan` shows it).",
                    ),
                )
                return

    def _fail_all(self, wanted: dict[StepId, list[Change]], error: InfraError) -> None:
        """Nobody knows how far the batch came: every step with changes has the error."""
        for step in self.group.steps:
            if step.id in wanted:
                self.group.end(step, outcome_of(error), error)
        first = next(step for step in self.group.steps if step.id in wanted)
        self.group.fail(first, error)

    def _attribute(self, wanted: dict[StepId, list[Change]], result: BatchResult, failed: Frame) -> None:
        """Find whose action it was. Steps before it did their part, and say so where their handlers were put off."""
        done = {f.resource for f in result.frames if f.kind == "action" and f.outcome == "ok"} - {failed.resource}
        put_off = {f.resource for f in result.frames if f.kind == "handler" and f.outcome == "skipped"}
        for step in self.group.steps:
            changes = wanted.get(step.id, [])
            self.group.changed[step.id] = [c.resource for c in changes if c.resource in done]
        error = ActionFailed(
            f"{failed.title}: {'time ran out' if failed.rc in (124, 137) else f'ended with {failed.rc}'}",
            host=self.group.host,
            details=failed.output,
            remedy=f"The whole output is in {self.exchanges.journal.directory / 'output.log'}.",
        )
        for step in self.group.steps:
            changes = wanted.get(step.id, [])
            if any(failed.resource == c.resource or failed.resource in {h.id for h in c.notifies} for c in changes):
                self.group.fail(step, error)
                return
            if any(h.id in put_off for c in changes for h in c.notifies):
                why = f"its restarts were put off, because {failed.title} failed; the next run makes up for them"
                self.group.end(step, Outcome.BLOCKED, InfraError(why, host=self.group.host))
            else:
                self.group.end(step, Outcome.CHANGED if changes else Outcome.OK)
        self.group.fail(self.group.steps[-1], error)
