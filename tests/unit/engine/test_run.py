"""Runs on the stand-in platform: exchanges counted, failures contained, nothing written twice."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.core import (
    API,
    ApiObject,
    Change,
    EventKind,
    Facts,
    FailurePolicy,
    Handler,
    Input,
    Inputs,
    Kind,
    Operation,
    OperationState,
    Outcome,
    Phase,
    Probe,
    PutFile,
    Script,
    Sha256,
    Shell,
    Standing,
    Stat,
    Step,
    StepId,
    Unknown,
)
from mlops_infra.engine.connect import Master
from mlops_infra.engine.errors import LockBusy, NoMajority, PlanMoved, SelectionRefused
from mlops_infra.engine.interrupt import interruptible
from mlops_infra.engine.lock import RunLock
from mlops_infra.engine.run import Engine, Settings
from mlops_infra.engine.selection import Selection
from mlops_infra.errors import ExitCode
from mlops_infra.testing.platform import FakeHost, FakePlatform, FakeWire, ScriptFailed


@dataclass(frozen=True, slots=True)
class Text:
    """A file with a content; `script` is run besides, `reload` is notified."""

    path: str
    content: str = "x"
    script: str = ""
    reload: str = ""
    sensitive: bool = False
    disruptive: bool = False

    @property
    def id(self) -> str:
        return f"file:{self.path}"

    @property
    def title(self) -> str:
        return self.path

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Sha256(self.path)})

    def diff(self, facts: Facts) -> Change | None:
        if facts.value(Sha256(self.path)) == hashlib.sha256(self.content.encode()).hexdigest():
            return None
        actions: tuple[Any, ...] = (PutFile(self.path, self.content.encode(), sensitive=self.sensitive),)
        if self.script:
            actions += (Shell(f"run {self.script}", self.script),)
        return Change(
            self.id,
            self.title,
            Kind.CREATE,
            "content differs",
            actions,
            diff="+x",
            notifies=(Handler(self.reload, self.reload),) if self.reload else (),
            disruptive=self.disruptive,
        )


@dataclass(frozen=True, slots=True)
class Applied:
    """An object of the API."""

    name: str

    @property
    def id(self) -> str:
        return f"object:{self.name}"

    @property
    def title(self) -> str:
        return self.name

    @property
    def probe(self) -> ApiObject:
        return ApiObject("v1", "ConfigMap", self.name)

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({self.probe})

    def diff(self, facts: Facts) -> Change | None:
        if facts.value(self.probe) is not None:
            return None
        reason = "no API yet" if isinstance(facts.answer(self.probe), Unknown) else "not there"
        return Change(self.id, self.name, Kind.CREATE, reason, (Shell(f"apply {self.name}", f"apply {self.name}"),))


def once(name: str, *, script: str = "", inputs: tuple[Input, ...] = (), disruptive: bool = False) -> Operation:
    """Done when /done/<name> is there; half-done when /half/<name> is."""

    def standing(facts: Facts) -> Standing:
        if facts.value(Stat(f"/half/{name}")) is not None:
            return Standing(OperationState.BROKEN, "half of it is there", f"reset {name}")
        done = facts.value(Stat(f"/done/{name}")) is not None
        return Standing(OperationState.DONE if done else OperationState.PENDING, "" if done else "not yet")

    def text(given: Inputs) -> Script:
        return Script((script or f"do {name}") + "".join(f" {v.reveal()}" for v in given.values()))

    probes: frozenset[Probe[Any]] = frozenset({Stat(f"/done/{name}"), Stat(f"/half/{name}")})
    return Operation(name, f"{name} it", probes, standing, text, inputs, disruptive=disruptive)


def needs(*steps: tuple[str, str]) -> frozenset[StepId]:
    return frozenset(StepId(*s) for s in steps)


@dataclass
class World:
    platform: FakePlatform
    runs: Path
    masters: tuple[str, ...] = ()

    def engine(self, phases: Iterable[Phase], **more: Any) -> Engine:
        selection = more.pop("selection", Selection())
        masters = tuple(Master(m, "192.0.2.1") for m in self.masters)
        settings = Settings("demo", masters, self.runs, selection)
        platform = self.platform
        return Engine(platform, platform.targets(), tuple(phases), settings, wire=FakeWire(platform), **more)

    def serve(self, *names: str) -> None:
        for name in names:
            self.platform.serving.add(name)
            for path in ("/etc/kubernetes/admin.conf", "/etc/kubernetes/manifests/etcd.yaml"):
                self.platform.hosts[name].files[path] = b"there"


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    def make(*hosts: str, masters: tuple[str, ...] = ()) -> World:
        return World(FakePlatform(*hosts), tmp_path / "runs", masters)

    return make


def simple(name: str, hosts: Iterable[str], **more: Any) -> Phase:
    steps = tuple(Step(name, h, (Text(f"/etc/{name}"),), **more) for h in hosts)
    return Phase(name, name, steps)


def outcomes(result: Any) -> dict[tuple[str, str], Outcome]:
    return {tuple(r.id): r.outcome for r in result.results}


SEVEN = ("lb", "m1", "m2", "m3", "w1", "w2", "w3")
MASTERS = ("m1", "m2", "m3")


def program(world: World) -> tuple[Phase, ...]:
    """The shape of a fresh installation: preparation everywhere, init, joins one by one, workers, network."""
    scripts = world.platform.scripts

    def done(name: str, *, master: bool = False) -> Callable[[FakeHost], str]:
        def run(host: FakeHost) -> str:
            host.files[f"/done/{name}"] = b""
            if master:
                world.serve(host.name)
            return ""

        return run

    def install(name: str) -> Callable[[FakeHost], None]:
        return lambda host: world.platform.api.__setitem__(Applied(name).probe, {"kind": "ConfigMap"})

    for m in MASTERS:
        scripts[f"do join-{m} t0ken"] = scripts[f"do init-{m}"] = done(
            f"join-{m}" if m != "m1" else "init-m1", master=True
        )
    for w in SEVEN[4:]:
        scripts[f"do join-{w} t0ken"] = done(f"join-{w}")
    scripts["mint"] = lambda host: "token=t0ken"
    scripts["apply flannel"] = install("flannel")
    mint = (Input("m1", "mint"),)
    init = StepId("control-plane", "m1")
    joins = [
        Step("control-plane", "m1", (Text("/etc/kubeadm"),), (once("init-m1"),), needs(("runtime", "m1"), ("lb", "lb")))
    ]
    for before, m in (("m1", "m2"), ("m2", "m3")):
        after = frozenset({StepId("control-plane", before)})
        own = needs(("runtime", m), ("network", API)) | {init}
        joins.append(Step("control-plane", m, (), (once(f"join-{m}", inputs=mint),), own, after))
    workers = [
        Step("workers", w, (), (once(f"join-{w}", inputs=mint),), needs(("runtime", w)) | {init}) for w in SEVEN[4:]
    ]
    runtime = [Step("runtime", h, (Text("/etc/containerd"),), needs=needs(("hosts", h))) for h in SEVEN[1:]]
    return (
        simple("hosts", SEVEN),
        Phase("runtime", "runtime", tuple(runtime)),
        Phase("lb", "lb", (Step("lb", "lb", (Text("/etc/haproxy"),), needs=needs(("hosts", "lb"))),)),
        Phase("control-plane", "masters", tuple(joins), quorum=True),
        Phase("network", "network", (Step("network", API, (Applied("flannel"),), needs=frozenset({init})),)),
        Phase("workers", "workers", tuple(workers)),
    )


def test_a_fresh_platform_of_seven_hosts_is_built_in_at_most_sixty_channels(world: Any) -> None:
    w = world(*SEVEN, masters=MASTERS)
    with w.engine(program(w)) as engine:
        plan = engine.plan()
        assert {s.id for s in plan.steps} >= {StepId("control-plane", "m1"), StepId("network", API)}
        result = engine.apply(expected=plan.digest())
    assert result.exit_code is ExitCode.DONE, result.failed
    assert all(o is Outcome.CHANGED for o in outcomes(result).values())
    assert sum(w.platform.channels.values()) <= 40, w.platform.channels


def test_the_second_run_opens_one_channel_a_host_and_takes_no_lock(world: Any) -> None:
    w = world(*SEVEN, masters=MASTERS)
    phases = program(w)
    with w.engine(phases) as engine:
        engine.apply()
    before = w.platform.channels
    helds = len(w.platform.helds)
    with w.engine(phases) as engine:
        assert engine.plan().is_empty
        result = engine.apply()
    assert result.exit_code is ExitCode.DONE and not result.changed
    assert {h: c - before[h] for h, c in w.platform.channels.items()} == dict.fromkeys(SEVEN, 1)
    assert len(w.platform.helds) == helds


def test_two_hundred_hosts_without_a_change_take_two_hundred_channels(world: Any) -> None:
    names = tuple(f"h{n}" for n in range(200))
    w = world(*names)
    for host in w.platform.hosts.values():
        host.files["/etc/hosts-phase"] = b"x"
    with w.engine([simple("hosts-phase", names)]) as engine:
        assert engine.plan().is_empty
        engine.apply()
    assert set(w.platform.channels.values()) == {1}


def test_steps_of_one_host_that_may_run_in_a_row_share_one_exchange(world: Any) -> None:
    w = world("a")
    chain = [simple("one", ["a"]), simple("two", ["a"], needs=needs(("one", "a"))), simple("three", ["a"])]
    with w.engine(chain) as engine:
        result = engine.apply()
    assert result.exit_code is ExitCode.DONE
    assert [len(b.changes) for _, b in w.platform.sent] == [4]  # three files and the manifest
    assert w.platform.channels["a"] == 3  # observe, lock and observe again, one batch


def test_an_action_that_fails_ends_its_own_host_and_no_other(world: Any) -> None:
    w = world("a", "b")
    w.platform.scripts["break"] = _failing("a", 7, "no such device")
    first = Phase("one", "one", tuple(Step("one", h, (Text("/etc/one", script="break"),)) for h in "ab"))
    with w.engine([first, simple("two", "ab")]) as engine:
        result = engine.apply()
    assert outcomes(result) == {
        ("one", "a"): Outcome.FAILED,
        ("one", "b"): Outcome.CHANGED,
        ("two", "a"): Outcome.BLOCKED,
        ("two", "b"): Outcome.CHANGED,
    }
    failed = result.failed[0]
    assert failed.brief == "run break: ended with 7" and failed.details == "no such device"
    assert result.exit_code is ExitCode.PARTLY


def test_a_handler_that_fails_is_laid_to_the_step_that_made_it_necessary(world: Any) -> None:
    w = world("a")
    w.platform.scripts["reload"] = _failing("a", 3, "bad config")
    first = Phase("one", "one", (Step("one", "a", (Text("/etc/one", reload="reload"),)),))
    with w.engine([first, simple("two", "a")]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("one", "a"): Outcome.FAILED, ("two", "a"): Outcome.BLOCKED}
    assert result.failed[0].details == "bad config"


def test_a_step_whose_handlers_were_put_off_by_a_later_failure_is_not_called_done(world: Any) -> None:
    w = world("a")
    w.platform.scripts["break"] = _failing("a", 1, "")
    first = Phase("one", "one", (Step("one", "a", (Text("/etc/one", reload="reload"),)),))
    second = Phase("two", "two", (Step("two", "a", (Text("/etc/two", script="break"),)),))
    with w.engine([first, second]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("one", "a"): Outcome.BLOCKED, ("two", "a"): Outcome.FAILED}
    assert "put off" in result.failed[0].brief


def test_every_step_is_told_about_once_also_those_that_never_began(world: Any) -> None:
    w = world("a", "b", "c")
    w.platform.hosts["c"].down = True
    w.platform.scripts["break"] = _failing("a", 1, "")
    told: list[Any] = []
    first = Phase("one", "one", tuple(Step("one", h, (Text("/etc/one", script="break"),)) for h in "abc"))
    with w.engine([first, simple("two", "abc")], emit=told.append) as engine:
        result = engine.apply()
    ended = [e.step for e in told if e.kind is EventKind.STEP_ENDED]
    assert sorted(ended) == sorted(r.id for r in result.results) and len(ended) == 6
    titles = [e.text for e in told if e.kind is EventKind.ACTION and e.host == "b"]
    assert any("break" in title for title in titles)


def test_what_is_not_as_declared_after_a_good_batch_fails_with_the_difference(world: Any) -> None:
    w = world("a")
    w.platform.scripts["undo"] = lambda host: host.files.__setitem__("/etc/one", b"otherwise")
    with w.engine([Phase("one", "one", (Step("one", "a", (Text("/etc/one", script="undo"),)),))]) as engine:
        (failed,) = engine.apply().failed
    assert failed.outcome is Outcome.FAILED
    assert "/etc/one is not as declared" in failed.brief
    assert "/etc/one: content differs" in failed.details and "+x" in failed.details


def test_what_a_batch_moved_by_the_way_is_put_right_by_one_more(world: Any) -> None:
    w = world("a")
    w.platform.hosts["a"].files["/etc/first"] = b"x"
    w.platform.scripts["upset"] = lambda host: host.files.__setitem__("/etc/first", b"upset")
    resources = (Text("/etc/first"), Text("/etc/second", script="upset"))
    with w.engine([Phase("one", "one", (Step("one", "a", resources),))]) as engine:
        result = engine.apply()
    assert result.exit_code is ExitCode.DONE
    assert result.results[0].changed == ("file:/etc/second", "file:/etc/first")


def test_a_host_that_is_down_does_not_stop_the_others_and_is_asked_once(world: Any) -> None:
    w = world("a", "b")
    w.platform.hosts["a"].down = True
    with w.engine([simple("one", "ab"), simple("two", "ab")]) as engine:
        plan = engine.plan()
        result = engine.apply(expected=plan.digest())
    assert [p.host for p in plan.problems if p.unreachable] == ["a"]
    assert outcomes(result)["two", "a"] is Outcome.UNREACHABLE
    assert outcomes(result)["two", "b"] is Outcome.CHANGED
    assert result.exit_code is ExitCode.PARTLY
    assert w.platform.hosts["a"].connections == 1


def test_nothing_reachable_is_an_exit_code_of_its_own(world: Any) -> None:
    w = world("a")
    w.platform.hosts["a"].down = True
    with w.engine([simple("one", "a")]) as engine:
        assert engine.apply().exit_code is ExitCode.UNREACHABLE


def test_a_half_done_operation_is_a_problem_with_its_remedy_and_blocks_its_host(world: Any) -> None:
    w = world("a", "b")
    w.platform.hosts["a"].files["/half/join"] = b""
    steps = tuple(Step("join", h, (), (once("join"),)) for h in "ab")
    w.platform.scripts["do join"] = lambda host: host.files.__setitem__("/done/join", b"")
    with w.engine([Phase("join", "join", steps), simple("later", "ab")]) as engine:
        plan = engine.plan()
        assert [(p.host, p.remedy) for p in plan.problems] == [("a", "reset join")]
        assert {s.id.host for s in plan.steps} == {"b"}
        result = engine.apply()
    assert outcomes(result)["join", "a"] is Outcome.FAILED
    assert outcomes(result)["later", "b"] is Outcome.CHANGED
    assert not any(host == "a" for host, _ in w.platform.sent)


def test_a_phase_that_tolerates_no_failure_skips_what_has_not_begun(world: Any) -> None:
    w = world("a", "b", "c")
    w.platform.scripts["break"] = _failing("a", 1, "")
    chain = [Step("p", "a", (Text("/etc/p", script="break"),))]
    chain += [Step("p", h, (Text("/etc/p"),), after=needs(("p", before))) for before, h in (("a", "b"), ("b", "c"))]
    with w.engine([Phase("p", "p", tuple(chain))]) as engine:
        strict = outcomes(engine.apply())
    assert strict == {("p", "a"): Outcome.FAILED, ("p", "b"): Outcome.SKIPPED, ("p", "c"): Outcome.SKIPPED}
    with w.engine([Phase("p", "p", tuple(chain), FailurePolicy(0.34))]) as engine:
        lenient = outcomes(engine.apply())
    # The first attempt left /etc/p on a: its file is as declared now, and only the others are left.
    assert lenient["p", "b"] is Outcome.CHANGED and lenient["p", "c"] is Outcome.CHANGED


def test_a_link_lost_under_a_batch_is_mended_once_and_only_what_is_left_is_sent(world: Any) -> None:
    w = world("a")
    w.platform.hosts["a"].cut = ["after"]
    with w.engine([simple("one", "a")]) as engine:
        result = engine.apply()
    assert result.exit_code is ExitCode.DONE
    assert len(w.platform.sent) == 1


def test_a_batch_that_was_lost_before_it_began_is_sent_again(world: Any) -> None:
    w = world("a")
    w.platform.hosts["a"].cut = ["before"]
    with w.engine([simple("one", "a")]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("one", "a"): Outcome.CHANGED}


def test_a_link_that_breaks_twice_leaves_the_step_in_doubt(world: Any) -> None:
    w = world("a")
    w.platform.hosts["a"].cut = ["before", "before"]
    with w.engine([simple("one", "a")]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("one", "a"): Outcome.IN_DOUBT}
    assert result.exit_code is ExitCode.FAILED


@pytest.mark.parametrize("cut", ["before", "after"])
def test_an_operation_whose_link_broke_is_run_exactly_once(world: Any, cut: str) -> None:
    w = world("a")
    ran: list[str] = []

    def join(host: FakeHost) -> str:
        ran.append(host.name)
        host.files["/done/join"] = b""
        return ""

    w.platform.scripts["do join"] = join
    w.platform.hosts["a"].cut = [cut]
    with w.engine([Phase("join", "join", (Step("join", "a", (), (once("join"),)),))]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("join", "a"): Outcome.CHANGED}
    assert ran == ["a"]


def test_an_operation_that_an_earlier_run_left_at_work_is_waited_for_and_not_repeated(world: Any) -> None:
    w = world("a")
    host = w.platform.hosts["a"]
    host.cut = ["busy"]
    host.when_idle = lambda: host.files.__setitem__("/done/join", b"")
    with w.engine([Phase("join", "join", (Step("join", "a", (), (once("join"),)),))]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("join", "a"): Outcome.OK}
    assert not w.platform.sent


@pytest.mark.parametrize("done", [True, False])
def test_nothing_is_minted_while_an_earlier_try_is_at_work(world: Any, done: bool) -> None:
    """A new certificate key makes the one that the earlier join came with worthless (kubeadm-certs holds one set)."""
    w = world("a", "seed")
    host = w.platform.hosts["a"]
    host.files["/at/work"] = b""
    told: list[str] = []

    def ended() -> None:
        told.append("waited")
        del host.files["/at/work"]
        if done:
            host.files["/done/join"] = b""

    host.when_idle = ended
    w.platform.scripts["mint"] = lambda _: (told.append("minted"), "token=t")[1]
    w.platform.scripts["do join t"] = lambda on: on.files.__setitem__("/done/join", b"")
    plain = once("join", inputs=(Input("seed", "mint"),))

    def standing(facts: Facts) -> Standing:
        return replace(plain.standing(facts), underway=facts.value(Stat("/at/work")) is not None)

    operation = replace(plain, standing=standing, probes=plain.probes | {Stat("/at/work")})
    with w.engine([Phase("join", "join", (Step("join", "a", (), (operation,)),))]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("join", "a"): Outcome.OK if done else Outcome.CHANGED}, result.failed
    assert told == (["waited"] if done else ["waited", "minted"])


def test_a_host_that_an_earlier_batch_keeps_busy_is_waited_for_and_looked_at_again(world: Any) -> None:
    w = world("a")
    host = w.platform.hosts["a"]
    host.cut = ["busy"]
    host.when_idle = lambda: host.files.__setitem__("/etc/one", b"x")
    with w.engine([simple("one", "a"), simple("two", "a")]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("one", "a"): Outcome.OK, ("two", "a"): Outcome.CHANGED}


def test_a_fault_of_the_program_on_one_host_does_not_take_the_others_with_it(world: Any) -> None:
    w = world("a", "b")

    def forgetful(given: Inputs) -> Script:
        raise KeyError("member")

    faulty = Operation("join", "join", once("join").probes, once("join").standing, forgetful)
    with w.engine([Phase("join", "join", (Step("join", "a", (), (faulty,)),)), simple("one", "b")]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("join", "a"): Outcome.FAILED, ("one", "b"): Outcome.CHANGED}
    assert "a fault in mlops-infra itself: KeyError" in result.failed[0].brief
    assert "forgetful" in (result.directory / "output.log").read_text()


def test_an_operation_that_ran_without_effect_is_not_called_done(world: Any) -> None:
    w = world("a")
    with w.engine([Phase("join", "join", (Step("join", "a", (), (once("join"),)),))]) as engine:
        (failed,) = engine.apply().failed
    assert "it ran, and yet it is pending" in failed.brief


def test_the_lock_of_another_run_is_named_and_nothing_is_written(world: Any) -> None:
    w = world("m1", "m2", "m3", "w1", masters=MASTERS)
    w.serve(*MASTERS)
    w.platform.holders["m2"] = "ada on desk7 since 2026-01-01 (run r1)"
    with w.engine([simple("one", ["w1"])]) as engine, pytest.raises(LockBusy, match="ada on desk7 since"):
        engine.apply()
    assert not w.platform.sent
    assert not any(h.open for h in w.platform.helds)


def test_masters_are_locked_the_first_of_the_file_before_all_others_and_let_go_at_the_end(world: Any) -> None:
    w = world("w1", "m1", "m2", "m3", masters=MASTERS)
    w.serve(*MASTERS)
    with w.engine([simple("one", ["w1", *MASTERS])]) as engine:
        engine.apply()
    assert w.platform.helds[0].session.name == "m1"
    assert {h.session.name for h in w.platform.helds} == {"m1", "m2", "m3"}
    assert not any(h.open for h in w.platform.helds)


def test_one_dead_master_of_three_leaves_a_majority_two_do_not(world: Any) -> None:
    w = world(*MASTERS, "w1", masters=MASTERS)
    w.serve(*MASTERS)
    w.platform.hosts["m1"].down = True
    phases = [simple("one", [*MASTERS, "w1"])]
    with w.engine(phases) as engine:
        assert engine.apply().exit_code is ExitCode.PARTLY
    w.platform.hosts["m2"].down = True
    w.platform.hosts["w1"].files.clear()
    with w.engine(phases) as engine, pytest.raises(NoMajority):
        engine.apply()


def test_a_limited_run_locks_the_masters_although_it_changes_none_of_them(world: Any) -> None:
    w = world("m1", "m2", "m3", "w1", masters=MASTERS)
    w.serve(*MASTERS)
    with w.engine([simple("one", ["w1"])], selection=Selection(hosts=frozenset({"w1"}))) as engine:
        assert engine.apply().exit_code is ExitCode.DONE
    assert {h.session.name for h in w.platform.helds} == set(MASTERS)


def test_a_run_that_loses_its_lock_begins_nothing_more(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_infra.engine.run.RunLock", partial(RunLock, heartbeat=0.01))
    w = world(*MASTERS, "w1", masters=MASTERS)
    w.serve(*MASTERS)

    def lose(host: FakeHost) -> None:
        for held in w.platform.helds[:2]:
            held.open = False
        time.sleep(0.3)

    w.platform.scripts["lose"] = lose
    first = Phase("one", "one", (Step("one", "w1", (Text("/etc/one", script="lose"),)),))
    later = Phase("two", "two", (Step("two", "m1", (Text("/etc/two"),), needs=needs(("one", "w1"))),))
    with w.engine([first, later]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("one", "w1"): Outcome.CHANGED, ("two", "m1"): Outcome.CANCELLED}
    assert "the run lock is held on 1 hosts only" in result.stopped
    assert result.exit_code is ExitCode.PARTLY


def test_a_plan_that_was_agreed_to_is_refused_when_the_world_moved(world: Any) -> None:
    w = world("a", "b")
    phases = [simple("one", "ab")]
    with w.engine(phases) as engine:
        digest = engine.plan().digest()
    w.platform.hosts["a"].files["/etc/one"] = b"x"
    with w.engine(phases) as engine, pytest.raises(PlanMoved):
        engine.apply(expected=digest)
    assert not w.platform.sent


def test_what_moves_between_the_plan_and_the_lock_is_noticed_too(world: Any) -> None:
    w = world("a", "b")
    with w.engine([simple("one", "ab")]) as engine:
        digest = engine.plan().digest()
        w.platform.hosts["a"].files["/etc/one"] = b"x"
        with pytest.raises(PlanMoved):
            engine.apply(expected=digest)
    assert not w.platform.sent


def test_ctrl_c_lets_the_flying_batch_end_and_begins_nothing_more(world: Any) -> None:
    w = world("a", "b")
    box: list[Engine] = []
    w.platform.scripts["pause"] = lambda host: box[0].interrupt()
    first = Phase("one", "one", (Step("one", "a", (Text("/etc/one", script="pause"),)),))
    with w.engine([first, simple("two", "b", needs=needs(("one", "a")))]) as engine:
        box.append(engine)
        result = engine.apply()
    assert outcomes(result) == {("one", "a"): Outcome.CHANGED, ("two", "b"): Outcome.CANCELLED}
    assert result.exit_code is ExitCode.INTERRUPTED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_stops_a_run_in_good_order_and_the_old_handlers_come_back(world: Any, number: int) -> None:
    w = world("a", "b")
    before = signal.getsignal(number)
    w.platform.scripts["pause"] = lambda host: (os.kill(os.getpid(), number), time.sleep(0.2), None)[2]
    first = Phase("one", "one", (Step("one", "a", (Text("/etc/one", script="pause"),)),))
    with w.engine([first, simple("two", "b", needs=needs(("one", "a")))]) as engine, interruptible(engine.interrupt):
        result = engine.apply()
    assert outcomes(result) == {("one", "a"): Outcome.CHANGED, ("two", "b"): Outcome.CANCELLED}
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_closes_the_sockets_and_leaves_doubt(world: Any) -> None:
    w = world("a")
    box: list[Engine] = []

    def twice(host: FakeHost) -> None:
        box[0].interrupt()
        box[0].interrupt()
        raise_lost(host)

    def raise_lost(host: FakeHost) -> None:
        from mlops_infra.transport.errors import LinkLost

        raise LinkLost("closed", host=host.name)

    w.platform.scripts["pause"] = twice
    with w.engine([Phase("one", "one", (Step("one", "a", (Text("/etc/one", script="pause"),)),))]) as engine:
        box.append(engine)
        result = engine.apply()
    assert outcomes(result) == {("one", "a"): Outcome.IN_DOUBT}
    assert result.exit_code is ExitCode.INTERRUPTED


def test_the_journal_and_all_its_files_hold_no_secret_and_no_content(world: Any) -> None:
    w = world(*SEVEN, masters=MASTERS)
    phases = program(w)
    extra = Phase("secret", "secret", (Step("secret", "w1", (Text("/etc/pw", "hunter2-content", sensitive=True),)),))
    with w.engine([*phases, extra]) as engine:
        result = engine.apply()
    assert result.exit_code is ExitCode.DONE
    files = list(result.directory.iterdir())
    assert {f.name for f in files} == {"journal.jsonl", "plan.json", "output.log"}
    for file in files:
        text = file.read_text()
        assert "t0ken" not in text and "hunter2" not in text
        assert file.stat().st_mode & 0o777 == 0o600
    said = [json.loads(line)["what"] for line in (result.directory / "journal.jsonl").read_text().splitlines()]
    assert said[0] == "run_started" and said[-1] == "run_ended"
    assert {"batch_sent", "batch_done", "operation_intent", "operation_done", "step_ended"} <= set(said)


def test_the_manifest_names_what_is_ours_and_is_never_a_change_by_itself(world: Any) -> None:
    w = world("a")
    with w.engine([simple("one", "a"), simple("two", "a")]) as engine:
        run = engine.apply().run_id
    said = json.loads(w.platform.hosts["a"].files["/var/lib/mlops-infra/manifest.json"])
    assert said["owned"] == ["file:/etc/one", "file:/etc/two"] and said["last_run"] == run
    with w.engine([simple("one", "a"), simple("two", "a")]) as engine:
        assert engine.plan().is_empty


def test_a_limited_run_asks_only_its_hosts_and_refuses_what_it_stands_on_when_missing(world: Any) -> None:
    w = world("a", "b", "c")
    phases = [simple("base", "a"), simple("top", ["b", "c"], needs=needs(("base", "a")))]
    only = Selection(hosts=frozenset({"b"}))
    with w.engine(phases, selection=only) as engine, pytest.raises(SelectionRefused, match="needs base on a"):
        engine.plan()
    w.platform.hosts["a"].files["/etc/base"] = b"x"
    with w.engine(phases, selection=only) as engine:
        assert [s.id for s in engine.plan().steps] == [StepId("top", "b")]
        assert outcomes(engine.apply()) == {("top", "b"): Outcome.CHANGED}
    assert w.platform.channels["c"] == 0


def test_a_disruptive_step_is_refused_when_etcd_would_lose_its_majority(world: Any) -> None:
    w = world(*MASTERS, masters=MASTERS)
    w.serve(*MASTERS)
    steps = tuple(Step("cp", m, (Text("/etc/cp", disruptive=True),)) for m in ("m1", "m2"))
    guarded = Phase("cp", "cp", steps, quorum=True)
    w.platform.hosts["m3"].down = True
    with w.engine([guarded]) as engine:
        result = engine.apply()
    assert all("lose its majority" in r.brief for r in result.failed if r.outcome is Outcome.FAILED)
    assert not w.platform.sent
    w.platform.hosts["m3"].down = False
    with w.engine([guarded]) as engine:
        assert engine.apply().exit_code is ExitCode.DONE


def test_the_api_is_asked_once_and_all_other_masters_when_the_first_is_silent(world: Any) -> None:
    w = world(*MASTERS, masters=MASTERS)
    w.serve(*MASTERS)
    w.platform.serving -= {"m1", "m2"}
    w.platform.api[Applied("cm").probe] = {"kind": "ConfigMap"}
    phases = [simple("one", MASTERS), Phase("net", "net", (Step("net", API, (Applied("cm"),)),))]
    for host in w.platform.hosts.values():
        host.files["/etc/one"] = b"x"
    with w.engine(phases) as engine:
        seen = engine.observe()
    assert seen.api_host == "m3"
    assert sum(w.platform.channels.values()) <= 5


@pytest.mark.parametrize("by_files", [True, False])
def test_what_the_api_said_before_an_operation_is_not_held_against_it(world: Any, by_files: bool) -> None:
    """A join that is judged by its files costs no further question; one that only the API can judge costs one."""
    w = world("m1", "w1", masters=("m1",))
    w.serve("m1")
    node = Applied("w1").probe

    def standing(facts: Facts) -> Standing:
        known = None if isinstance(facts.answer(node), Unknown) else facts.value(node) is not None
        files = facts.value(Stat("/done/join")) is not None
        if known is None:
            return Standing(OperationState.DONE if files and by_files else OperationState.UNKNOWN)
        if files and not known:
            return Standing(OperationState.BROKEN, "the cluster knows no such node")
        return Standing(OperationState.DONE if known else OperationState.PENDING)

    def join(host: FakeHost) -> None:
        host.files["/done/join"] = b""
        w.platform.api[node] = {"kind": "Node"}

    w.platform.scripts["do join"] = join
    probes: frozenset[Probe[Any]] = frozenset({node, Stat("/done/join")})
    operation = Operation("join", "join", probes, standing, lambda given: Script("do join"))
    with w.engine([Phase("join", "join", (Step("join", "w1", (), (operation,)),))]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("join", "w1"): Outcome.CHANGED}, result.failed
    assert w.platform.channels == {"m1": 2 if by_files else 3, "w1": 3}


def test_two_hosts_are_at_work_at_the_same_time(world: Any) -> None:
    w = world("a", "b")
    meeting = threading.Barrier(2, timeout=5)
    w.platform.scripts["meet"] = lambda host: (meeting.wait(), None)[1]
    steps = tuple(Step("p", h, (Text("/etc/p", script="meet"),)) for h in "ab")
    with w.engine([Phase("p", "p", steps)]) as engine:
        assert engine.apply().exit_code is ExitCode.DONE


def _failing(on: str, rc: int, output: str) -> Callable[[FakeHost], str]:
    def run(host: FakeHost) -> str:
        if host.name == on:
            raise ScriptFailed(rc, output)
        return ""

    return run


def test_a_step_that_knocks_is_done_over_the_links_of_before_once_a_new_one_was_let_in(world: Any) -> None:
    w = world("m1", masters=("m1",))
    proof = Phase(
        "proof", "proof", (Step("proof", "m1", (Text("/etc/kept"),), needs=needs(("wall", "m1")), knocks=True),)
    )
    with w.engine([simple("wall", ["m1"]), proof]) as engine:
        result = engine.apply()
    assert result.exit_code is ExitCode.DONE
    assert [next(c.title for c in b.changes) for _, b in w.platform.sent] == ["/etc/wall", "/etc/kept"]
    assert w.platform.hosts["m1"].connections == 2, "the run's own, which holds the lock, and the one that knocked"


def test_where_no_new_connection_is_let_in_nothing_of_the_step_is_done(world: Any) -> None:
    w = world("a")

    def shut(host: FakeHost) -> None:
        host.locked = True

    w.platform.scripts["shut"] = shut
    wall = Phase("wall", "wall", (Step("wall", "a", (Text("/etc/wall", script="shut"),)),))
    proof = Phase(
        "proof", "proof", (Step("proof", "a", (Text("/etc/kept"),), needs=needs(("wall", "a")), knocks=True),)
    )
    with w.engine([wall, proof]) as engine:
        result = engine.apply()
    assert outcomes(result) == {("wall", "a"): Outcome.CHANGED, ("proof", "a"): Outcome.FAILED}
    assert "/etc/kept" not in w.platform.hosts["a"].files
    assert "no new connection" in result.failed[0].brief
    assert "takes it back by itself" in result.failed[0].remedy
