"""The smoke test on a real platform: passes on a healthy one, names what is broken, and always goes away."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest
from platform_lab import PlatformLab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]


LATE = {"top", "ml-scraped", "targets", "watchdog"}
"""Checks of what is measured once in a while: right after `up` metrics-server and Prometheus may not know yet."""


def smoke(lab: PlatformLab, *words: str, rc: int | None = 0) -> dict[str, Any]:
    """`rc`: the exit code that is asserted; None: 0 or 2."""
    done = lab.run("--lab", "smoke", *words, "--json")
    assert done.returncode in ((0, 2) if rc is None else (rc,)), done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def results(answer: dict[str, Any]) -> dict[str, str]:
    return {c["id"]: c["result"] for c in answer["checks"]}


def left(lab: PlatformLab) -> str:
    return lab.kubectl("get namespaces -l app.kubernetes.io/managed-by=mlops-infra-smoke -o name").strip()


def test_a_healthy_platform_passes_all_of_it(platform: PlatformLab) -> None:
    wait_for(lambda: all(platform.nodes().values()), 120, 2)
    answer = smoke(platform)
    assert set(results(answer).values()) == {"ok"}, answer
    (arp,) = [c for c in answer["checks"] if c["id"] == "lb-arp"]
    assert arp["source"] == "lb-1", "asked from a host that is no node"
    assert platform.kubectl("get pods -A -l app=smoke -o name") == "", "a worker can be drained now"
    wait_for(lambda: left(platform) == "", 60, 2)


def test_the_full_half_skips_nothing_and_passes_on_the_platform_that_ships(shipped: PlatformLab) -> None:
    """cluster.yaml has storage, metrics and monitoring on. Only what Prometheus has not asked yet is waited for."""
    end = time.monotonic() + 180
    answer = smoke(shipped, "--full", rc=None)
    while wrong := [c for c in answer["checks"] if c["result"] != "ok"]:
        assert {c["id"] for c in wrong} <= LATE and time.monotonic() < end, wrong
        time.sleep(5)
        answer = smoke(shipped, "--full", rc=None)
    assert results(answer).keys() >= {"ml-start", "ml-ingress", "ml-lb", "ml-metrics", "volume"} | LATE, answer
    wait_for(lambda: left(shipped) == "", 60, 2)


@pytest.mark.long
def test_a_filtered_pod_network_is_named(platform: PlatformLab) -> None:
    """VXLAN is dropped on one worker, as a firewall would."""
    rule = "OUTPUT -p udp --dport 8472 -j DROP"
    tool = "nsenter -t $(pgrep -o flanneld) -m iptables"
    platform.on("worker-1", f"{tool} -I {rule}")
    try:
        found = results(smoke(platform, rc=2))
        assert found["pods"] == "failed"
        assert found["pods-start"] == "ok"
    finally:
        platform.on("worker-1", f"{tool} -D {rule}")
    wait_for(lambda: results(smoke(platform))["pods"] == "ok", 60, 2)


@pytest.mark.long
def test_no_coredns_fails_with_dns_named(platform: PlatformLab) -> None:
    """The Service of CoreDNS leads nowhere."""
    patch = "-n kube-system patch service kube-dns --type merge -p"
    platform.kubectl(patch + ' \'{"spec":{"selector":{"k8s-app":"nobody"}}}\'')
    try:
        found = smoke(platform, rc=2)
        assert results(found)["dns"] == "failed"
        (dns,) = [c for c in found["checks"] if c["id"] == "dns"]
        assert "CoreDNS" in dns["cause"]
    finally:
        platform.kubectl(patch + ' \'{"spec":{"selector":{"k8s-app":"kube-dns"}}}\'')


@pytest.mark.parametrize("moment", ["a pod on", "asking from"])
def test_ctrl_c_takes_it_away(platform: PlatformLab, moment: str) -> None:
    child = platform.start("--lab", "smoke")
    assert child.stderr is not None
    for line in child.stderr:
        if moment in (line if isinstance(line, str) else line.decode()):
            break
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=90)
    assert child.returncode == 130
    wait_for(lambda: left(platform) == "", 60, 2)
