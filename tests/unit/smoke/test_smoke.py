"""The whole of a smoke test over hosts that answer as told: what is asked where, and that it is always taken away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_infra.app import smoke as smoke_module
from mlops_infra.app.context import SiteContext, open_site
from mlops_infra.app.smoke import run_smoke
from mlops_infra.app.smoke_checks import Probe, Result
from mlops_infra.errors import InfraError, UnreachableError
from mlops_infra.testing import FakeTransport
from mlops_infra.transport.errors import LinkLost, Refused, TransportError
from mlops_infra.transport.session import Reply
from mlops_infra.ui.console import Style
from mlops_infra.ui.smoke import smoke_shape, smoke_text

CLUSTER = """
name: demo
ssh: {user: ops%s}
hosts:
  lb: [{name: lb-1, address: 10.0.0.9}]
  masters:
    - {name: m1, address: 10.0.0.1}
    - {name: m2, address: 10.0.0.2}
    - {name: m3, address: 10.0.0.3}
  workers:
    - {name: w1, address: 10.0.0.4}
    - {name: w2, address: 10.0.0.5}
"""
READY = "= class none\n= pool none\n= pod smoke-1 w1 10.244.1.2 True\n= pod smoke-2 w2 10.244.2.2 True\n"
READY += "= service 10.96.7.7 31000\n"
# A name server's answer: 10.96.7.7.
RESOLVED = "4d4c85800001000100000000" + "0161" + "0000010001" + "c00c00010001000000050004" + "0a600707"


class Hosts:
    """`begun` is what the master says to the deploy script; every question is answered well unless in `silent`."""

    def __init__(self) -> None:
        self.begun: str | BaseException = READY
        self.silent: set[str] = set()
        self.scripts: list[tuple[str, str]] = []
        self.unreachable: dict[str, TransportError] = {}

    def transport(self) -> FakeTransport:
        names = ("lb-1", "m1", "m2", "m3", "w1", "w2")
        return FakeTransport({n: self._answers(n) for n in names}, unreachable=self.unreachable)

    def _answers(self, name: str) -> Callable[[str, bytes], Reply | TransportError]:
        def answer(command: str, stdin: bytes) -> Reply | TransportError:
            script = stdin.decode()
            self.scripts.append((name, script))
            if "delete namespace mlops-infra-smoke-" in script:
                return Reply(0, b"deleted\n", "")
            if "get --raw /readyz" in script:
                if isinstance(self.begun, TransportError):
                    return self.begun
                if isinstance(self.begun, BaseException):
                    raise self.begun
                return Reply(0, self.begun.encode(), "")
            ids = [line.split()[1] for line in script.splitlines() if line.startswith("try ")]
            texts = {i: RESOLVED if i == "dns" else "no" for i in ids}
            said = [f"= {i} {'failed' if i in self.silent else 'ok'} 1000000 {texts[i]}" for i in ids]
            return Reply(0, "\n".join(said).encode(), "")

        return answer

    @property
    def cleaned(self) -> list[str]:
        return [name for name, script in self.scripts if "delete namespace mlops-infra-smoke-" in script]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    monkeypatch.setattr(smoke_module, "can_reach", lambda *_: True)
    monkeypatch.setattr(smoke_module, "ask", lambda id, question, patience: Probe(id, "this machine", True, 0.1))
    return Hosts()


def context_of(tmp_path: Path, ssh: str = "") -> SiteContext:
    config = tmp_path / "cluster.yaml"
    config.write_text(CLUSTER % ssh)
    return open_site(config)


def results(done: object) -> dict[str, str]:
    return {c["id"]: str(c["result"]) for c in smoke_shape(done)["checks"]}  # type: ignore[arg-type]


def test_everything_is_asked_and_taken_away(tmp_path: Path, hosts: Hosts) -> None:
    transport = hosts.transport()
    done = run_smoke(context_of(tmp_path), transport, lambda _: None)
    found = results(done)
    assert (found["pods-start"], found["pods"], found["service"], found["nodeport"]) == ("ok", "ok", "ok", "ok")
    assert (found["lb-arp"], found["ingress-http"]) == ("skipped", "skipped")
    assert len(hosts.cleaned) == 1
    assert sum(transport.channels.values()) == 4, "deploy, one a worker, clean"


@pytest.mark.parametrize(
    ("pools", "asked"), [("pool: [10.0.0.60/30]", '{"metallb.universe.tf/address-pool": "default-pool"}'), ("", "{}")]
)
def test_an_address_is_asked_of_a_pool_of_the_file(tmp_path: Path, hosts: Hosts, pools: str, asked: str) -> None:
    """A pool made by hand, without an advertisement, made half of the smoke tests fail on a platform that was well."""
    context = context_of(tmp_path, f"}}\nmetallb: {{{pools}")
    run_smoke(context, hosts.transport(), lambda _: None)
    (deploy,) = [script for _, script in hosts.scripts if "name: smoke-lb" in script]
    assert f"annotations: {asked}" in deploy


def test_a_failure_is_exit_2_and_shown_with_cause_and_command(tmp_path: Path, hosts: Hosts) -> None:
    hosts.silent = {"pods:w2"}
    done = run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None)
    assert done.exit_code == 2
    shown = smoke_text(done, Style())
    assert "FAILED   pods reach one another" in shown
    assert "w1 → w2: no" in shown
    assert "try: kubectl -n kube-flannel" in shown


def test_behind_a_bastion_a_host_asks_instead_and_it_is_said(tmp_path: Path, hosts: Hosts) -> None:
    hosts.begun = READY.replace("pool none", "pool p") + "= lb 10.0.0.100\n"
    done = run_smoke(context_of(tmp_path, ", bastion: {address: 192.0.2.1}"), hosts.transport(), lambda _: None)
    (asked,) = [script for name, script in hosts.scripts if name == "lb-1"]
    assert "try nodeport:m1 " in asked and "try lb " in asked and "try arp " in asked
    assert results(done)["lb-http"] == "ok"
    assert "lb-1 was asked instead" in done.notes[0]


def test_arp_is_always_asked_from_a_host_that_is_no_node(tmp_path: Path, hosts: Hosts) -> None:
    hosts.begun = READY.replace("pool none", "pool p") + "= lb 10.0.0.100\n"
    run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None)
    (asked,) = [script for name, script in hosts.scripts if name == "lb-1"]
    assert "try arp " in asked
    assert "try nodeport" not in asked, "this machine asks that itself"


def test_a_master_that_is_not_ready_is_passed_by(tmp_path: Path, hosts: Hosts) -> None:
    hosts.unreachable = {"m1": Refused("no"), "m3": Refused("no")}
    assert run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None).ok
    assert hosts.cleaned == ["m2"]
    hosts.begun = "! no-api its API server does not say ready\n"
    with pytest.raises(InfraError, match="could not be begun"):
        run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None)
    assert hosts.cleaned == ["m2"], "nothing was made"


def test_no_master_at_all_is_unreachable(tmp_path: Path, hosts: Hosts) -> None:
    hosts.unreachable = {name: Refused("no") for name in ("m1", "m2", "m3")}
    with pytest.raises(UnreachableError):
        run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None)


def test_ctrl_c_and_a_broken_link_take_it_away_all_the_same(tmp_path: Path, hosts: Hosts) -> None:
    hosts.begun = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None)
    assert len(hosts.cleaned) == 1
    hosts.begun = LinkLost("gone")
    with pytest.raises(InfraError):
        run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None)
    assert len(hosts.cleaned) == 2


def test_its_pods_are_gone_before_it_ends(tmp_path: Path, hosts: Hosts) -> None:
    """A namespace is emptied in its own time; until then kubectl drain refused to evict pods without a controller."""
    run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None)
    clean = hosts.scripts[-1][1]
    assert clean.index("delete pods -l app=smoke --wait=false") < clean.index("delete namespace mlops-infra-smoke-")


def test_what_cannot_be_taken_away_is_said_and_is_a_failure(tmp_path: Path, hosts: Hosts) -> None:
    done = run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None)
    left = smoke_module.Smoke(done.namespace, done.checks, 1.0, (), "the namespace x could not be taken away")
    assert left.exit_code == 2
    assert "left behind" in smoke_text(left, Style())


def test_of_many_workers_some_are_taken_from_all_over_the_file() -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

    many = [Named(f"w{i}") for i in range(100)]
    taken = smoke_module._spread(many, 10)  # type: ignore[arg-type]
    assert [t.name for t in taken] == [f"w{i}" for i in range(0, 100, 10)]


def test_a_skipped_check_is_no_failure(tmp_path: Path, hosts: Hosts) -> None:
    done = run_smoke(context_of(tmp_path), hosts.transport(), lambda _: None)
    assert any(c.result is Result.SKIPPED and c.details for c in done.checks)
    assert done.exit_code == 0
