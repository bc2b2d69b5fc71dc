"""The doctor's own questions, under every shell, on files of this machine's kind."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sandbox import SHELLS, Sandbox, needs_root

from mlops_infra.doctor import probes as p

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
