"""Logs of all hosts in one stream."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from mlops_infra.app.logs import (
    SOURCES,
    Line,
    follow,
    hosts_of,
    is_part,
    parse_line,
    parse_since,
    read,
    script_of,
    source_of,
)
from mlops_infra.errors import UsageError
from mlops_infra.model.cluster import Cluster
from mlops_infra.testing.transport import FakeHeld, FakeTransport
from mlops_infra.transport import Reply, Target
from mlops_infra.transport.errors import Refused

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ETCD = """==> /var/log/pods/kube-system_etcd-m1_f00/etcd/0.log <==
2026-11-23T11:59:50.123456789Z stderr F one

==> /var/log/pods/kube-system_etcd-m1_f00/etcd/1.log <==
2026-11-23T11:00:00.1Z stderr F old
"""


def reply(text: str) -> object:
    return lambda command, stdin: Reply(0, text.encode(), "")


def targets(*names: str) -> dict[str, Target]:
    return {name: Target(name, "192.0.2.1") for name in names}


def test_lines_of_all_hosts_come_in_the_order_of_time() -> None:
    later = ETCD.replace("11:59:50", "11:59:55").replace("etcd-m1", "etcd-m2")
    transport = FakeTransport({"m1": reply(later.replace("m2", "m1")), "m2": reply(ETCD.replace("m1", "m2"))})  # type: ignore[dict-item]
    found, errors = read(transport, targets("m1", "m2"), "x", None, NOW)
    assert errors == []
    assert [(line.host, line.text) for line in found] == [("m1", "old"), ("m2", "old"), ("m2", "one"), ("m1", "one")]
    assert found[0].source == "kube-system/etcd-m1"
    assert transport.channels == {"m1": 1, "m2": 1}


def test_since_leaves_out_what_is_older() -> None:
    transport = FakeTransport({"m1": reply(ETCD)})  # type: ignore[dict-item]
    found, _ = read(transport, targets("m1"), "x", timedelta(minutes=10), NOW)
    assert [line.text for line in found] == ["one"]


def test_parts_and_their_other_names_are_told_from_pods() -> None:
    assert is_part("etcd") and is_part("lb")
    assert not is_part("etcd-m1") and not is_part("shop/web")


def test_a_silent_host_is_told_and_the_others_answer() -> None:
    transport = FakeTransport({"m1": reply(ETCD)}, unreachable={"m2": Refused("refused", host="m2")})  # type: ignore[dict-item]
    found, errors = read(transport, targets("m1", "m2"), "x", None, NOW)
    assert {line.host for line in found} == {"m1"}
    assert [error.host for error in errors] == ["m2"]


def test_following_says_each_line_as_it_comes_until_the_host_ends() -> None:
    held = FakeHeld(said=ETCD.splitlines())

    class Ending(FakeHeld):
        def line(self, timeout: float) -> str | None:
            text = held.line(timeout)
            self.ended = text is None
            return text

    transport = FakeTransport({"m1": reply("")}, held=lambda command, stdin: Ending())  # type: ignore[dict-item]
    said: list[Line] = []
    assert follow(transport, targets("m1"), "x", said.append) == []
    assert [line.text for line in said] == ["one", "old"]


def test_journal_lines_tell_time_unit_and_text() -> None:
    line = parse_line("w1", "", "2026-11-23T12:00:01.000001+0100 w1 kubelet[77]: E1123 it: failed")
    assert line == Line("w1", datetime(2026, 11, 23, 11, 0, 1, 1, tzinfo=UTC), "kubelet", "E1123 it: failed")


def test_a_line_of_another_form_is_kept_as_it_is() -> None:
    assert parse_line("w1", "", "-- Boot --") == Line("w1", None, "", "-- Boot --")


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_spans_of_time(text: str, seconds: int) -> None:
    assert parse_since(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "10", "5 minutes", "-1h"])
def test_what_is_no_span_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="not a time span"):
        parse_since(text)


def test_parts_have_other_names_too_and_all_else_is_a_pod() -> None:
    assert source_of("lb") is SOURCES["haproxy"]
    assert source_of("shop/web").what == ("shop_web*/*",)
    assert source_of("web-1").what == ("*_web-1*/*",)


@pytest.mark.parametrize("name", ["../etc/passwd", "../x", "a b", "$(id)", "a/b/c", "*"])
def test_a_name_can_be_no_path_and_no_shell(name: str) -> None:
    with pytest.raises(UsageError, match="neither a part"):
        source_of(name)


def test_only_hosts_of_the_right_role_are_asked() -> None:
    hosts = {
        "lb": [{"name": "lb1", "address": "10.0.0.20"}],
        "masters": [{"name": "m1", "address": "10.0.0.1"}],
        "workers": [{"name": "w1", "address": "10.0.0.11"}],
    }
    cluster = Cluster.model_validate({"name": "c", "ssh": {"user": "u"}, "hosts": hosts})
    everyone = targets("lb1", "m1", "w1")
    assert list(hosts_of(cluster, source_of("etcd"), everyone)) == ["m1"]
    assert list(hosts_of(cluster, source_of("haproxy"), everyone)) == ["lb1"]
    assert list(hosts_of(cluster, source_of("kubelet"), everyone)) == ["m1", "w1"]


@pytest.mark.parametrize("following", [False, True])
@pytest.mark.parametrize("name", [*SOURCES, "shop/web"])
def test_every_script_is_sh(name: str, following: bool) -> None:
    script = script_of(source_of(name), lines=10, since=timedelta(hours=1), following=following)
    done = subprocess.run(["dash", "-n"], input=script.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_log_that_is_not_there_ends_well_and_at_once() -> None:
    script = script_of(source_of("nowhere/nothing"), lines=10, since=None, following=True)
    done = subprocess.run(["dash"], input=script.encode(), capture_output=True, check=False, timeout=10)
    assert (done.returncode, done.stdout) == (0, b"")
