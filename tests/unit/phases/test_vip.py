import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_infra.core import ABSENT, Facts, Shell, Unknown, Unreadable
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.lb import lb_phase
from mlops_infra.phases.vip import VipGone, keepalived_config

PAIR = {
    "lb": [{"name": "lb-1", "address": "10.0.0.2"}, {"name": "lb-2", "address": "10.0.0.3", "interface": "bond0"}],
    "masters": [{"name": "m", "address": "10.0.0.11"}],
}
VIP = {"vip": {"address": "10.0.0.1", "interface": "eth0"}}


def test_without_a_vip_keepalived_is_neither_installed_nor_spoken_of(cluster: Cluster, context: PhaseContext) -> None:
    (step,) = lb_phase(cluster, context).steps
    assert not [r.id for r in step.resources if "keepalived" in r.id]
    (gone,) = [r for r in step.resources if isinstance(r, VipGone)]
    for answer in (ABSENT, "# a file of somebody else's\n", Unreadable("too large"), Unknown("not answered")):
        assert gone.diff(Facts(dict.fromkeys(gone.probes(), answer))) is None
    assert gone.diff(Facts()) is None


def test_a_vip_that_was_taken_out_of_the_file_is_held_by_nobody_any_more(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    before, after = make(hosts=PAIR, lb=VIP), make(hosts=PAIR)
    for host, step in zip(after.hosts.lb, lb_phase(after, context).steps, strict=True):
        (gone,) = [r for r in step.resources if isinstance(r, VipGone)]
        change = gone.diff(Facts(dict.fromkeys(gone.probes(), keepalived_config(before, host))))
        assert change is not None
        assert change.disruptive
        (action,) = change.actions
        assert isinstance(action, Shell)
        words = ["disable keepalived", "stop keepalived", "rm -f /etc/keepalived/keepalived.conf"]
        assert sorted(words, key=action.script.index) == words
    for step in lb_phase(before, context).steps:
        assert not [r for r in step.resources if isinstance(r, VipGone)]


@pytest.mark.parametrize("stops", [True, False])
def test_the_configuration_stays_where_keepalived_does_not_stop(tmp_path: Path, *, stops: bool) -> None:
    """What it says is the only sign that there is something to stop."""
    config = tmp_path / "keepalived.conf"
    config.write_text("# Written by mlops-infra.\n")
    (probe,) = VipGone().probes()
    change = VipGone().diff(Facts({probe: config.read_text()}))
    assert change is not None
    (action,) = change.actions
    assert isinstance(action, Shell)
    systemctl = (
        f'systemctl() {{ case "$1" in show) echo LoadState=loaded ;; stop) return {0 if stops else 1} ;; esac; }}\n'
    )
    script = systemctl + action.script.replace("/etc/keepalived/keepalived.conf", str(config))
    done = subprocess.run(["sh", "-c", script], check=False)
    assert (done.returncode == 0, config.exists()) == (stops, not stops)


def test_the_pair_knows_each_other_and_each_its_own_interface(make: Callable[..., Cluster]) -> None:
    cluster = make(hosts=PAIR, lb=VIP)
    first, second = (keepalived_config(cluster, host) for host in cluster.hosts.lb)
    assert "unicast_src_ip 10.0.0.2\n  unicast_peer {\n    10.0.0.3\n  }" in first
    assert "interface eth0" in first
    assert "interface bond0" in second
    assert "priority 150" in first
    assert "priority 149" in second
    for text in (first, second):
        assert "state BACKUP\n  nopreempt" in text
        assert "virtual_ipaddress {\n    10.0.0.1\n  }" in text


def test_the_address_stands_up_after_what_is_behind_it(make: Callable[..., Cluster], context: PhaseContext) -> None:
    for step in lb_phase(make(hosts=PAIR, lb=VIP), context).steps:
        ids = [r.id for r in step.resources]
        assert ids.index("unit:haproxy.service") < ids.index("packages:keepalived")


def test_keepalived_itself_finds_the_configuration_valid(make: Callable[..., Cluster], tmp_path: Path) -> None:
    if shutil.which("keepalived") is None:
        pytest.skip("no keepalived on this machine")
    cards = sorted(p.name for p in Path("/sys/class/net").iterdir() if p.name.startswith("e"))
    if not cards:
        pytest.skip("no network card on this machine: keepalived looks for the interface")
    cluster = make(hosts=PAIR, lb={"vip": {"address": "10.0.0.1", "interface": cards[0]}})
    path = tmp_path / "keepalived.conf"
    path.write_text(keepalived_config(cluster, cluster.hosts.lb[0]))
    done = subprocess.run(["keepalived", "-t", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
