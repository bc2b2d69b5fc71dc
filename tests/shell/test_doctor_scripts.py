"""The doctor's own questions, under every shell, on files of this machine's kind."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sandbox import SHELLS, Sandbox, needs_root

from mlops_infra.app.doctor import questions_of
from mlops_infra.doctor import probes as p
from mlops_infra.doctor.catalogue import CHECKS
from mlops_infra.model.cluster import Cluster

pytestmark = needs_root

CERTIFICATES = """
mkdir -p /etc/kubernetes/pki/etcd /var/lib/kubelet/pki && cd /etc/kubernetes/pki
one() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -days "$2" \\
  -keyout "$1.key" -out "$1.crt" 2>/dev/null; }
one ca 3650 && one apiserver 365 && one client 90 && mv client.* etcd/
openssl x509 -in ca.crt -text >ca.text && mv ca.text ca.crt
# The kubelet's file holds the certificate, its issuer's, and the key.
cat etcd/client.crt ca.crt etcd/client.key >/var/lib/kubelet/pki/kubelet-client-current.pem
echo nonsense >front-proxy-ca.crt
: >empty.crt
{ echo 'users:'; echo '- user:'
  echo "    client-certificate-data: $(base64 -w0 <apiserver.crt)"
  echo "    client-key-data: $(base64 -w0 <apiserver.key)"; } >/etc/kubernetes/admin.conf
for f in ca.crt apiserver.crt etcd/client.crt; do openssl x509 -noout -enddate -in $f; done
cat etcd/client.key; base64 -w0 <apiserver.key
"""


@pytest.fixture(params=SHELLS)
def host(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    sandbox = Sandbox(request.param)
    yield sandbox
    sandbox.close()


def test_certificates_are_told_by_one_program_with_their_ends_and_without_keys(host: Sandbox) -> None:
    lines = host.run(CERTIFICATES).splitlines()
    ca, server, client = (
        datetime.strptime(line, "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC) for line in lines[:3]
    )
    facts = host.observe({p.CERTIFICATES})
    pki = "/etc/kubernetes/pki"
    assert p.parse_certificates(p.said(facts, p.CERTIFICATES)) == {
        f"{pki}/ca.crt": ca,
        f"{pki}/apiserver.crt": server,
        f"{pki}/etcd/client.crt": client,
        "/var/lib/kubelet/pki/kubelet-client-current.pem": client,
        "/etc/kubernetes/admin.conf": server,
        f"{pki}/front-proxy-ca.crt": None,
        f"{pki}/empty.crt": None,
    }
    answer = facts.value(p.CERTIFICATES)
    assert answer is not None
    secret = [line for line in lines[3:] if line and "PRIVATE KEY" not in line]
    assert len(secret) > 3
    assert not any(one in answer.stdout for one in secret)
    assert b64encode(b"PRIVATE KEY").decode()[:8] not in answer.stdout


def test_a_host_without_certificates_says_none(host: Sandbox) -> None:
    host.run("rm -rf /etc/kubernetes /var/lib/kubelet")
    assert p.parse_certificates(p.said(host.observe({p.CERTIFICATES}), p.CERTIFICATES)) == {}


def test_a_machine_tells_what_runs_short_and_what_it_is_in_the_middle_of(host: Sandbox) -> None:
    host.run("rm -f /run/reboot-required; rm -rf /var/lib/dpkg/updates; echo nameserver 192.0.2.1 >/etc/resolv.conf")
    before = p.said(host.observe({p.MACHINE}), p.MACHINE)
    assert before is not None
    total, free = map(int, before["memory"][0].split())
    assert 0 < free < total
    assert "/ rw" in before["mount"]
    assert not {"dpkg", "half", "reboot", "stub"} & set(before)
    host.run("touch /run/reboot-required; mkdir -p /var/lib/dpkg/updates; touch /var/lib/dpkg/updates/0001")
    for state in ("ok installed", "reinstreq half-configured", "ok unpacked", "ok config-files"):
        name = state.split()[1].split("-")[0]
        host.run(f"printf 'Package: {name}\\nStatus: install {state}\\nVersion: 1\\n\\n' >>/var/lib/dpkg/status")
    host.run("printf 'search x\\nnameserver 127.0.0.53\\nnameserver 192.0.2.1\\n' >/etc/resolv.conf")
    after = p.said(host.observe({p.MACHINE}), p.MACHINE)
    assert after is not None
    assert after["dpkg"] == ("/var/lib/dpkg/updates/0001",)
    assert after["half"] == ("half", "unpacked")
    assert (after["reboot"], after["stub"]) == (("yes",), ("127.0.0.53",))
    host.run("mkdir -p /run/systemd/resolve && touch /run/systemd/resolve/resolv.conf")
    resolved = p.said(host.observe({p.MACHINE}), p.MACHINE)
    assert resolved is not None and "stub" not in resolved, "the kubelet takes resolved's own list"


def test_a_master_names_keys_that_others_can_read(host: Sandbox) -> None:
    question = p.control_plane(cluster_of().hosts.masters[0])
    host.run(CERTIFICATES)
    host.run("cd /etc/kubernetes && chmod 600 pki/*.key pki/etcd/*.key admin.conf && mkdir -p tmp && echo >tmp/old.key")
    assert "open" not in (p.said(host.observe({question}), question) or {})
    host.run("cd /etc/kubernetes && chmod 644 pki/ca.key && chmod 640 admin.conf")
    said = p.said(host.observe({question}), question)
    assert said is not None
    assert set(said["open"]) == {"/etc/kubernetes/pki/ca.key", "/etc/kubernetes/admin.conf"}


# Stand-ins that are counted, for what starts slowly or asks a daemon, and for what is counted besides.
COUNTED = ("awk", "openssl", "crictl", "kubectl", "etcdctl", "ctr", "timedatectl", "df", "perl", "journalctl", "base64")
COUNT = (
    f"mkdir -p /usr/local/sbin; for p in {' '.join(COUNTED)}; do f=/usr/local/sbin/$p; "
    "printf '#!/bin/sh\\necho %s >>/tmp/started\\n[ ! -x /usr/bin/%s ] || exec /usr/bin/%s \"$@\"\\n' $p $p $p >$f; "
    "chmod 755 $f; done; rm -f /tmp/started"
)


def cluster_of() -> Cluster:
    hosts = {
        "lb": [{"name": "lb1", "address": "10.0.0.20"}],
        "masters": [{"name": f"m{i}", "address": f"10.0.0.{i}"} for i in (1, 2, 3)],
    }
    return Cluster.model_validate({"name": "c", "ssh": {"user": "u"}, "hosts": hosts})


def test_a_master_is_examined_with_few_programs_however_many_certificates_it_has(host: Sandbox) -> None:
    cluster = cluster_of()
    host.run(CERTIFICATES)
    host.run("cd /etc/kubernetes/pki && for i in 1 2 3 4 5 6 7 8 9; do cp ca.crt more$i.crt; done")
    host.run(COUNT)
    asked = questions_of(cluster, CHECKS)["m1"]
    host.observe(asked)
    started = Counter(host.run("cat /tmp/started").split())
    assert started["awk"] == 1, "for all certificates"
    assert started["openssl"] <= 4, "own API server, endpoint, and two questions to etcd"
    assert started["crictl"] <= 2
    assert started["df"] == 2
    assert not {"etcdctl", "ctr", "kubectl"} & set(started), "they take a quarter of a second each to start"
