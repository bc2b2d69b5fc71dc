"""What `--fix` takes of `up`, and what it leaves to a person."""

from __future__ import annotations

from pathlib import Path

from sick import RUNNING, STOPPED, Platform, cluster_of
from test_checks import csr

from mlops_infra.app.doctor_fix import SAFE, ApproverRun, Repairs, repairs_of
from mlops_infra.core import API, Facts, Outcome, Phase, Step, Sysctl
from mlops_infra.doctor import probes as p
from mlops_infra.doctor.catalogue import CHECKS
from mlops_infra.engine.connect import Master
from mlops_infra.engine.run import Engine, Settings
from mlops_infra.resources import File, Sysctls, UnitState
from mlops_infra.testing.platform import FakePlatform, FakeWire
from mlops_infra.ui.console import Style
from mlops_infra.ui.doctor import repairs_text

CONFIG = File("/etc/containerd/config.toml", "ours\n")
CONTAINERD = UnitState("containerd.service", enabled=True, active=True)
KUBELET = UnitState("kubelet.service", enabled=True, active=True)
MASKED_UNIT = UnitState("mlops-infra-old.service", masked=True)
SETTINGS = Sysctls({"net.ipv4.ip_forward": "1"})


def phases() -> tuple[Phase, ...]:
    """As in `up`: the runtime before the kubelet, and other things besides."""
    hosts = ("m1", "m2", "m3", "w1", "w2")
    return (
        Phase("hosts", "Hosts", tuple(Step("hosts", h, (SETTINGS, MASKED_UNIT)) for h in hosts)),
        Phase("runtime", "Runtime", tuple(Step("runtime", h, (CONFIG, CONTAINERD, KUBELET)) for h in hosts)),
    )


def healthy(sick: Platform) -> None:
    for facts in sick.facts.values():
        file = FakePlatform("x").hosts["x"]
        file.files[CONFIG.path] = b"ours\n"
        file.files[SETTINGS.path] = SETTINGS._file.data
        facts |= {probe: file.answer(probe) for probe in (*CONFIG.probes(), *SETTINGS._file.probes())}
        facts |= {Sysctl("net.ipv4.ip_forward"): "1"}


def repairs(sick: Platform) -> Repairs:
    return repairs_of(sick.cluster, phases(), sick.view.seen, sick.diagnosis())


def chosen(found: Repairs) -> dict[str, list[str]]:
    return {step.host: [r.id for r in step.resources] for phase in found.phases for step in phase.steps}


def test_a_healthy_platform_needs_no_repair(sick: Platform) -> None:
    healthy(sick)
    assert repairs(sick) == Repairs((), (), ())


def test_stopped_services_are_started_in_the_order_of_up_and_nothing_else_is_touched(sick: Platform) -> None:
    healthy(sick)
    sick.facts["w1"] |= {p.CONTAINERD: STOPPED, p.KUBELET: STOPPED}
    sick.drift("w1", "unit:containerd.service", "unit:kubelet.service")
    found = repairs(sick)
    assert chosen(found) == {"w1": ["unit:containerd.service", "unit:kubelet.service"]}
    assert [f.check for f in found.mends] == ["cri.up"]


def test_a_service_is_not_started_with_a_file_that_somebody_edited(sick: Platform) -> None:
    healthy(sick)
    sick.facts["w1"][p.CONTAINERD] = STOPPED
    edited = FakePlatform("x").hosts["x"]
    edited.files[CONFIG.path] = b"edited\n"
    sick.facts["w1"] |= {probe: edited.answer(probe) for probe in CONFIG.probes()}
    sick.drift("w1", "unit:containerd.service", "file:/etc/containerd/config.toml")
    found = repairs(sick)
    assert found.phases == ()
    assert [f.check for f in found.left] == ["cri.up"]


def test_what_follows_from_a_cause_that_is_left_is_not_tried(sick: Platform) -> None:
    healthy(sick)
    sick.say("m2", p.MACHINE, "disk", "/dev/sda 1000000 1000000 0 100% /")
    sick.facts["m2"][p.CONTAINERD] = STOPPED
    found = repairs(sick)
    assert found.phases == ()
    assert [f.check for f in found.left] == ["host.disk"]


def test_kernel_settings_are_set_and_hosts_that_are_silent_are_left(sick: Platform) -> None:
    healthy(sick)
    sick.facts["w1"][Sysctl("net.ipv4.ip_forward")] = "0"
    sick.drift("w1", SETTINGS.id)
    sick.lose("w2")
    found = repairs(sick)
    assert chosen(found) == {"w1": [SETTINGS.id]}
    assert [f.check for f in found.left] == ["host.ssh"]


def test_of_units_only_what_starts_one_is_safe(sick: Platform) -> None:
    healthy(sick)
    sick.drift("w1", MASKED_UNIT.id)
    assert repairs(sick).phases == ()


def test_certificates_are_left_to_the_approvers_rules_and_to_a_person_where_it_is_off(sick: Platform) -> None:
    healthy(sick)
    sick.api[p.OBJECTS] = (csr(60),)
    assert chosen(repairs(sick)) == {API: ["approver:run"]}
    without = Platform(cluster=cluster_of(security={"approve_kubelet_certificates": False}))
    healthy(without)
    without.api[p.OBJECTS] = (csr(60),)
    assert repairs(without).phases == ()


def test_only_serving_certificates_that_nobody_decided_on_wait_for_the_approver() -> None:
    request = csr(60)
    other = {**request, "spec": {"signerName": "example.org/x"}}
    decided = {**request, "status": {"conditions": [{"type": "Approved"}]}}
    assert ApproverRun().diff(Facts({p.CSRS: (other, decided)})) is None
    change = ApproverRun().diff(Facts({p.CSRS: (request,)}))
    assert change is not None and "csr-1" in change.reason


def run(fake: FakePlatform, found: Repairs, runs: Path) -> dict[tuple[str, str], Outcome]:
    cluster = cluster_of()
    masters = tuple(Master(m.name, m.node_address) for m in cluster.hosts.masters)
    settings = Settings("c", masters, runs)
    with Engine(fake, fake.targets(), found.phases, settings, wire=FakeWire(fake)) as engine:
        made = engine.plan()
        assert not made.is_empty
        return {(r.id.phase, r.id.host): r.outcome for r in engine.apply(expected=made.digest()).results}


def test_the_engine_mends_it_and_proves_it(sick: Platform, tmp_path: Path) -> None:
    healthy(sick)
    sick.facts["w1"][p.KUBELET] = STOPPED
    sick.api[p.OBJECTS] = (csr(60),)
    fake = FakePlatform(*(h.name for h in sick.cluster.all_hosts))
    fake.serving = {"m1", "m2", "m3"}
    for name in ("m1", "m2", "m3"):
        fake.hosts[name].files["/etc/kubernetes/admin.conf"] = b""
    fake.hosts["w1"].answers[p.KUBELET] = STOPPED
    fake.api = {p.CSRS: (csr(60),)}
    found = repairs(sick)
    change = KUBELET.diff(Facts({p.KUBELET: STOPPED}))
    assert change is not None
    start = change.actions[0].script  # type: ignore[union-attr]
    fake.scripts[start] = lambda host: host.answers.update({p.KUBELET: RUNNING}) or ""
    fake.scripts["systemctl start mlops-infra-approver.service\n"] = lambda host: fake.api.update({p.CSRS: ()}) or ""
    assert run(fake, found, tmp_path) == {("repair", "w1"): Outcome.CHANGED, ("repair", API): Outcome.CHANGED}


def test_a_request_that_the_approver_refuses_fails_and_is_named(sick: Platform, tmp_path: Path) -> None:
    healthy(sick)
    sick.api[p.OBJECTS] = (csr(60),)
    fake = FakePlatform(*(h.name for h in sick.cluster.all_hosts))
    fake.serving = {"m1"}
    fake.hosts["m1"].files["/etc/kubernetes/admin.conf"] = b""
    fake.api = {p.CSRS: (csr(60),)}
    fake.scripts["systemctl start mlops-infra-approver.service\n"] = lambda host: ""
    assert run(fake, repairs(sick), tmp_path) == {("repair", API): Outcome.FAILED}


def test_every_check_that_is_mended_is_a_check() -> None:
    assert set(SAFE) <= {c.id for c in CHECKS}


def test_the_plan_says_what_is_left_with_its_command(sick: Platform) -> None:
    healthy(sick)
    sick.facts["w1"][p.KUBELET] = STOPPED
    sick.say("w2", p.MACHINE, "failed", "cron.service")
    text = repairs_text(repairs(sick), Style())
    assert "to mend: w1: kubelet is stopped (kubelet.up)" in text
    assert "left to you: w2: failed: cron.service" in text
    assert "systemctl restart cron.service" in text
