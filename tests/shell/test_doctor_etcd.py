"""What the doctor asks of etcd, answered by a real one, where PATH or the lab's mirror has it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from sandbox import Sandbox, needs_root

from mlops_infra.doctor import probes as p
from mlops_infra.doctor.probes import Said, parse_json
from mlops_infra.lab.mirror import default_directory
from mlops_infra.model.cluster import Cluster

ETCD = shutil.which("etcd") or str(
    next(iter(sorted(default_directory().parent.glob("products/etcd-*/etcd"), reverse=True)), "")
)
pytestmark = [
    needs_root,
    pytest.mark.skipif(not ETCD, reason="no etcd on this machine yet: the lab's mirror makes one"),
]

KEYS = """
ip link set lo up
mkdir -p /etc/kubernetes/pki/etcd && cd /etc/kubernetes/pki/etcd
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $new -subj /CN=etcd-ca -days 9 -keyout ca.key -out ca.crt 2>/dev/null
printf 'extendedKeyUsage=serverAuth,clientAuth\\nsubjectAltName=IP:127.0.0.1\\n' >usage
for name in server healthcheck-client; do
  openssl req -new $new -subj "/CN=$name" -keyout $name.key -out $name.csr 2>/dev/null
  openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 9 -extfile usage \\
    -out $name.crt 2>/dev/null
done
"""
QUESTION = p.control_plane(
    Cluster.model_validate(
        {"name": "c", "ssh": {"user": "u"}, "hosts": {"masters": [{"name": "m1", "address": "127.0.0.1"}]}}
    ).host_named("m1")
)


def member(host: Sandbox, number: int) -> subprocess.Popen[bytes]:
    """One of three; the first listens where kubeadm's does."""
    client = f"https://127.0.0.1:{2379 if number == 1 else 12379 + number}"
    peers = {n: f"http://127.0.0.1:{22380 + n}" for n in (1, 2, 3)}
    words = {
        "name": f"m{number}",
        "data-dir": f"/root/etcd{number}",
        "cert-file": "server.crt",
        "key-file": "server.key",
        "trusted-ca-file": "ca.crt",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peers[number],
        "initial-advertise-peer-urls": peers[number],
        "initial-cluster": ",".join(f"m{n}={url}" for n, url in peers.items()),
    }
    flags = " ".join(f"--{name} {value}" for name, value in words.items())
    command = f"cd /etc/kubernetes/pki/etcd && exec etcd --client-cert-auth {flags} >/root/etcd{number}.log 2>&1"
    return host.start(command)


@pytest.fixture
def host() -> Iterator[Sandbox]:
    sandbox = Sandbox("dash")
    sandbox.run(f"{KEYS}\ncp {ETCD} /usr/local/bin/etcd")
    yield sandbox
    sandbox.close()


def asked(host: Sandbox, until: Callable[[Said], bool]) -> Said:
    end = time.monotonic() + 30
    while True:
        told = p.said(host.observe({QUESTION}), QUESTION)
        assert told is not None
        if until(told):
            return told
        assert time.monotonic() < end, told
        time.sleep(0.3)


def test_members_and_state_come_over_the_gateway_and_without_a_leader_no_list_is_asked_for(host: Sandbox) -> None:
    _, second, third = (member(host, number) for number in (1, 2, 3))
    told = asked(host, lambda said: "members" in said)
    status, members = parse_json(told["status"]), parse_json(told["members"])
    assert status["version"].startswith("3.") and int(status["dbSize"]) > 0 and int(status["leader"]) > 0
    assert {m["name"]: m["peerURLs"] for m in members["members"]} == {
        f"m{n}": [f"http://127.0.0.1:{22380 + n}"] for n in (1, 2, 3)
    }
    for gone in (second, third):
        gone.kill()
        gone.wait()
    told = asked(host, lambda said: "no leader" in "".join(said.get("status", ())))
    assert "members" not in told
    assert parse_json(told["status"])["errors"] == ["etcdserver: no leader"]


def test_a_client_certificate_that_is_refused_is_told_in_the_words_of_tls(host: Sandbox) -> None:
    for number in (1, 2):
        member(host, number)
    asked(host, lambda said: "members" in said)
    host.run("cd /etc/kubernetes/pki/etcd && openssl req -x509 -key healthcheck-client.key -subj /CN=x -days 9 "
             "-out healthcheck-client.crt")  # fmt: skip
    told = asked(host, lambda said: "members" not in said)
    assert "alert unknown ca" in "".join(told["status"])
    assert parse_json(told["status"]) is None
