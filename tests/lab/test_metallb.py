"""Addresses and ingress on real hosts: MetalLB's ARP, the real ingress controller, pools that change, workers that go.

The tests of this module are chapters: each takes the platform as the one before left it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from platform_lab import MAIN, PlatformLab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

LB = "10.110.190.21"
BALANCED = "ingress-nginx/ingress-nginx-controller-lb"
NOTHING_KNOWN = "404"
"""What the controller says to a host that no Ingress names: an answer from behind the address."""


def status(lab: PlatformLab) -> dict[str, Any]:
    return lab.json("metallb", "status")


def ingress_service(lab: PlatformLab) -> dict[str, Any]:
    found = {f"{s['namespace']}/{s['name']}": s for s in status(lab)["services"]}
    return found[BALANCED]


def code(lab: PlatformLab, url: str) -> str:
    return lab.run("lab", "curl", "--", "-sk", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", url).stdout


def steady(lab: PlatformLab, url: str, rate: int, count: int, patience: int) -> subprocess.Popen[str]:
    """`count` requests, `rate` a second, each a line with its HTTP code; 000 for none within `patience` seconds."""
    words = ["-s", "-o", "/dev/null", "-m", str(patience), "--rate", f"{rate}/s", "-w", "%{http_code}\n"]
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "lab", "curl", "--", *words, f"{url}?[1-{count}]"],
        env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


class TestWhatUpBuilt:
    def test_the_service_of_the_ingress_controller_has_an_address_that_a_worker_announces(
        self, platform: PlatformLab
    ) -> None:
        wait_for(lambda: bool(ingress_service(platform)["node"]), 60, 2)
        seen = status(platform)
        assert [p["name"] for p in seen["pools"]] == ["default-pool"]
        assert seen["pools"][0]["announced"] and seen["pools"][0]["used"] == 1
        assert seen["webhook"]["serves"] and seen["controller"]
        assert all(speaker["ready"] for speaker in seen["speakers"])
        service = ingress_service(platform)
        assert service["node"].startswith("worker-"), "masters are excluded from external load balancers"
        assert code(platform, f"http://{service['addresses'][0]}/") == NOTHING_KNOWN

    @pytest.mark.parametrize(
        "url",
        [f"http://{LB}/", f"https://{LB}/", "http://10.110.190.25:32624/", "https://10.110.190.27:31316/"],
    )
    def test_the_controller_answers_through_haproxy_and_at_the_pinned_node_ports(
        self, platform: PlatformLab, url: str
    ) -> None:
        wait_for(lambda: code(platform, url) == NOTHING_KNOWN, 60, 2)

    def test_its_webhook_judges_ingresses_with_a_certificate_of_ours(self, platform: PlatformLab) -> None:
        bad = (
            '{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "bad", "annotations":'
            ' {"nginx.ingress.kubernetes.io/server-snippet": "nonsense"}}, "spec": {"rules": [{"host": "a.b", "http":'
            ' {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "x", "port":'
            ' {"number": 80}}}}]}}]}}'
        )
        said = platform.on(
            "master-1",
            f"echo '{bad}' | kubectl --kubeconfig /etc/kubernetes/admin.conf apply --dry-run=server -f - 2>&1 || :",
        )
        assert "denied the request" in said, said

    def test_the_retired_controller_is_said_and_is_no_finding(self, platform: PlatformLab) -> None:
        plan = platform.json("plan")
        assert plan["empty"] and any("ingress-nginx is retired" in note for note in plan["notes"])


class TestDriftInTheApi:
    def test_an_object_that_was_edited_or_deleted_by_hand_is_found_and_mended(self, platform: PlatformLab) -> None:
        platform.kubectl("-n ingress-nginx scale deployment ingress-nginx-controller --replicas=1")
        platform.kubectl("-n ingress-nginx delete pdb ingress-nginx-controller")
        platform.kubectl("-n ingress-nginx delete secret ingress-nginx-admission")
        platform.kubectl("-n metallb-system delete l2advertisement default-l2-adv")
        changes = platform.changes(platform.json("plan", rc=2))
        assert set(changes) == {
            ("@api", "api:NGINX ingress controller"),
            ("@api", "command:ingress-admission-certificate"),
            ("@api", "api:MetalLB's pools"),
        }
        platform.up()
        assert platform.json("plan")["empty"]
        assert code(platform, f"http://{LB}/") == NOTHING_KNOWN


class TestPools:
    def test_a_range_that_would_take_an_address_in_use_is_refused_and_the_file_stays(
        self, platform: PlatformLab
    ) -> None:
        before = platform.config.read_bytes()
        refused = platform.run("--lab", "metallb", "set-pool", ".101-.110", "--yes")
        assert refused.returncode == 1
        assert f"{BALANCED} would lose 10.110.190.100" in refused.stderr
        assert platform.config.read_bytes() == before

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (".1-.3", "10.110.190.1 is in use"),
            (".20-.30", "worker-1's address 10.110.190.25 lies in"),
            ("10.110.191.1-10.110.191.9", "leaves the hosts' network"),
        ],
    )
    def test_what_is_somebody_elses_is_refused(self, platform: PlatformLab, words: str, said: str) -> None:
        before = platform.config.read_bytes()
        refused = platform.run("--lab", "metallb", "set-pool", words, "--yes", "--allow-readdress")
        assert refused.returncode == 1 and said in refused.stderr, refused.stderr
        assert platform.config.read_bytes() == before

    def test_when_it_is_allowed_the_service_moves_and_answers_and_comments_stay(self, platform: PlatformLab) -> None:
        answer = platform.json("metallb", "set-pool", ".101-.110", "--yes", "--allow-readdress")
        assert [s["name"] for s in answer["change"]["lose"]] == ["ingress-nginx-controller-lb"]
        (service,) = answer["metallb"]["services"]
        assert service["addresses"] == ["10.110.190.101"]
        assert code(platform, "http://10.110.190.101/") == NOTHING_KNOWN
        assert "    - 10.110.190.101-10.110.190.110   # site\n" in platform.config.read_text()
        assert platform.json("plan")["empty"]

    def test_a_pool_that_the_file_no_longer_names_goes_and_one_made_by_hand_stays(self, platform: PlatformLab) -> None:
        before = platform.config.read_text()
        platform.json("metallb", "set-pool", ".120-.121", "--pool", "extra", "--yes")
        by_hand = (
            '{"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "by-hand",'
            ' "namespace": "metallb-system"}, "spec": {"addresses": ["10.110.190.130-10.110.190.131"]}}'
        )
        platform.on("master-1", f"echo '{by_hand}' | kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f -")
        assert {p["name"] for p in status(platform)["pools"]} == {"default-pool", "extra", "by-hand"}
        platform.config.write_text(before)
        plan = platform.json("plan", rc=2)
        (change,) = [c for s in plan["steps"] for c in s["changes"] if c["resource"] == "api:MetalLB's pools"]
        assert "- IPAddressPool metallb-system/extra" in change["diff"] and "by-hand" not in change["diff"]
        platform.up()
        assert {p["name"] for p in status(platform)["pools"]} == {"default-pool", "by-hand"}
        platform.kubectl("-n metallb-system delete ipaddresspool by-hand")


class TestWorkersThatGo:
    def test_a_worker_is_drained_without_a_failed_request(self, platform: PlatformLab) -> None:
        pods = json.loads(
            platform.kubectl("-n ingress-nginx get pods -l app.kubernetes.io/component=controller -o json")
        )
        nodes = [pod["spec"]["nodeName"] for pod in pods["items"]]
        assert len(set(nodes)) == 2, "two replicas stand on two workers"
        asking = steady(platform, f"http://{LB}/", rate=20, count=900, patience=3)
        platform.kubectl(f"drain {nodes[0]} --ignore-daemonsets --delete-emptydir-data --timeout=120s")
        answers = Counter(asking.communicate(timeout=300)[0].split())
        platform.kubectl(f"uncordon {nodes[0]}")
        assert answers == {NOTHING_KNOWN: 900}

    def test_when_the_announcing_worker_loses_power_the_address_answers_again(
        self, platform: PlatformLab, record_property: Callable[[str, object], None]
    ) -> None:
        wait_for(lambda: bool(ingress_service(platform)["node"]), 60, 2)
        service = ingress_service(platform)
        node, address = service["node"], service["addresses"][0]
        asking = steady(platform, f"http://{address}/", rate=10, count=400, patience=1)
        platform("lab", "fail", "power", node)
        answers = asking.communicate(timeout=600)[0].split()
        silent = answers.count("000")  # each waited for a second
        record_property("seconds of silence", silent)
        assert 0 < silent < 60, f"{node} lost power: {address} was silent for about {silent} s"
        assert answers[-20:] == [NOTHING_KNOWN] * 20, "it answers again, and goes on"
        # MetalLB's own status names the dead node for as long as it stays away; that is not passed on.
        wait_for(lambda: ingress_service(platform)["node"] != node, 120, 3)
        platform("lab", "heal", node)
        wait_for(lambda: all(platform.nodes().values()), 240, 3)
        platform.up()
        assert platform.json("plan")["empty"]
