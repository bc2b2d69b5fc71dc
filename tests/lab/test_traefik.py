"""Another ingress controller on real hosts: Traefik takes over from ingress-nginx while people are served, and back.

Its image is built into the lab's mirror first, which takes a quarter of an hour where it is not built yet. The tests of
this module are chapters: each takes the platform as the one before left it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from platform_lab import MAIN, PlatformLab, wait_for
from test_metallb import LB, NOTHING_KNOWN, code, ingress_service

pytestmark = [pytest.mark.lab, pytest.mark.timeout(4500), pytest.mark.long]

HOST = "dns.example.test"
# CoreDNS tells its metrics at /metrics: no pod of ours is needed, and the annotation is worth something.
INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {
        "name": "switch",
        "namespace": "kube-system",
        "annotations": {"nginx.ingress.kubernetes.io/rewrite-target": "/metrics"},
    },
    "spec": {
        "ingressClassName": "nginx",
        "rules": [
            {
                "host": HOST,
                "http": {
                    "paths": [
                        {
                            "path": "/told",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "kube-dns", "port": {"number": 9153}}},
                        }
                    ]
                },
            }
        ],
    },
}


def asked(lab: PlatformLab, url: str) -> str:
    words = ["-sk", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {HOST}", url]
    return lab.run("lab", "curl", "--", *words).stdout


def steady(lab: PlatformLab, address: str, seconds: int) -> subprocess.Popen[str]:
    """Ten requests a second, each on a connection of its own, each a line with its HTTP code; 000 for no answer."""
    # To standard error: what curl says there it says at once, on a pipe of its output it would be lost when curl ends.
    words = ["-s", "-o", "/dev/null", "-m", "5", "--rate", "10/s", "-w", "%{stderr}%{http_code}\n"]
    words += ["-H", f"Host: {HOST}", "-H", "Connection: close", f"http://{address}/told?[1-{10 * seconds}]"]
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "lab", "curl", "--", *words],
        env=lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def choose(lab: PlatformLab, before: str, after: str) -> None:
    text = lab.config.read_text()
    assert f"  controller: {before} " in text
    lab.config.write_text(text.replace(f"  controller: {before} ", f"  controller: {after} "))


def deployments(lab: PlatformLab) -> set[str]:
    return set(lab.kubectl("-n ingress-nginx get deployments -o name").split())


@pytest.fixture(scope="module")
def served(platform: PlatformLab) -> Iterator[PlatformLab]:
    """The platform with an Ingress that answers, and at the end ingress-nginx again, whatever happened."""
    before = platform.config.read_text()
    manifest = json.dumps(INGRESS)
    kubectl = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
    platform.on("master-1", f"{kubectl} apply -f - <<'END'\n{manifest}\nEND\n")
    try:
        yield platform
    finally:
        platform.on("master-1", f"{kubectl} -n kube-system delete ingress switch --ignore-not-found")
        if platform.config.read_text() != before:
            platform.config.write_text(before)
            platform.up()


def answers_everywhere(lab: PlatformLab) -> None:
    address = ingress_service(lab)["addresses"][0]
    for url in (f"http://{LB}/told", f"https://{LB}/told", f"http://{address}/told", f"https://{address}/told"):
        wait_for(lambda url=url: asked(lab, url) == "200", 60, 1)
    assert code(lab, f"http://{LB}/") == NOTHING_KNOWN


def switched(lab: PlatformLab, before: str, after: str) -> None:
    """One takes over from the other, on other workers than the one that announces the address, which so has to move.

    Whoever comes through HAProxy notices nothing. At the address, connections are reset that are open when it moves
    (docs/decisions/0012), for less than a second.
    """
    choose(lab, before, after)
    service = ingress_service(lab)
    lab.kubectl(f"cordon {service['node']}")
    clients = {address: steady(lab, address, 240) for address in (LB, service["addresses"][0])}
    try:
        lab.up()
        # Those that were told to end do so with ten seconds of grace.
        wait_for(lambda: len(lab.kubectl("-n ingress-nginx get pods -o name").split()) == 2, 120, 2)
    finally:
        lab.kubectl(f"uncordon {service['node']}")
        for client in clients.values():
            client.terminate()
        seen = {address: Counter(client.communicate()[1].split()) for address, client in clients.items()}
    through, at = seen.values()
    assert set(through) == {"200"} and through["200"] > 100, seen
    assert set(at) <= {"200", "000"} and at["200"] > 100 and at["000"] <= 10, seen
    assert ingress_service(lab)["node"] != service["node"]


def test_the_mirror_brings_it_once_cluster_yaml_names_it(served: PlatformLab) -> None:
    answers_everywhere(served)
    choose(served, "nginx", "traefik")
    try:
        built = json.loads(served("--json", "mirror", "build", timeout=4000))
    finally:
        choose(served, "traefik", "nginx")
    assert any(image.startswith("docker.io/library/traefik:v") for image in built["images"])


def test_traefik_takes_over_and_no_client_notices(served: PlatformLab) -> None:
    address = ingress_service(served)["addresses"]
    switched(served, "nginx", "traefik")
    assert deployments(served) == {"deployment.apps/traefik"}
    assert ingress_service(served)["addresses"] == address
    answers_everywhere(served)
    assert "ingress-nginx-admission" not in served.kubectl("get validatingwebhookconfigurations -o name")
    assert "ingress-nginx-admission" not in served.kubectl("-n ingress-nginx get secrets -o name")


def test_nothing_is_left_to_do_and_nobody_is_told_of_a_retired_part(served: PlatformLab) -> None:
    plan = served.json("plan")
    assert plan["empty"] and not any("retired" in note for note in plan["notes"])
    assert served.run("--lab", "doctor").returncode == 0


def test_haproxy_sees_every_worker_up_by_traefiks_health(served: PlatformLab) -> None:
    words = ["-sk", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}"]
    name = served.json("config", "show")["control_plane_endpoint"] or "api.mlops.internal"
    for url in ("http://10.110.190.25:32624/healthz", "https://10.110.190.25:31316/healthz"):
        as_haproxy = served.run("lab", "curl", "--", *words, "-H", f"Host: {name}", url).stdout
        assert as_haproxy == "200", url
        assert code(served, url) == NOTHING_KNOWN, "under another name the path is the programs'"
    assert served.run("--lab", "doctor", "--only", "lb.ingress").returncode == 0


def test_and_back_to_nginx_as_quietly(served: PlatformLab) -> None:
    switched(served, "traefik", "nginx")
    assert deployments(served) == {"deployment.apps/ingress-nginx-controller"}
    answers_everywhere(served)
    assert served.json("plan")["empty"]
