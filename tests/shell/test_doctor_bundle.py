"""The bundle's own questions, for real: secrets of every kind are planted on a host, and looked for in the archive."""

from __future__ import annotations

import tarfile
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sandbox import SHELLS, Sandbox, needs_root

from mlops_infra.app import doctor_bundle as use
from mlops_infra.doctor.scrub import Scrubber
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.site import Site
from mlops_infra.testing.transport import FakeTransport
from mlops_infra.transport import Reply, Target
from mlops_infra.transport.errors import Refused
from mlops_infra.ui.doctor_page import index_page

pytestmark = needs_root

WORD = "pl4nt3dSecret9f3b"
HEX = "c0ffee00" * 8
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6.eyJpc3MiOiJrdWJlcm5ldGVzLnBs.pl4nt3dSignature_x"
AGE = "AGE-SECRET-KEY-1PL4NT3DQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIpl4nt3dKeyLine1AAAAAAAAAAAA\n-----END EC PRIVATE KEY-----"
BASE64 = b64encode(WORD.encode()).decode()
PEM64 = b64encode(PEM.encode()).decode()
LOOKED_FOR = (WORD, BASE64, HEX, "pl4nt3d", "PL4NT3D", PEM64[:40], "0123456789abcdef", "MHcCAQEE")

PLANT = f"""
mkdir -p /etc/haproxy /etc/keepalived /etc/containerd/certs.d/x /etc/kubernetes/manifests /etc/kubernetes/pki \\
  /var/lib/kubelet /var/lib/mlops-infra /etc/sysctl.d
printf '  stats auth admin:{WORD}\\n  user ada insecure-password {WORD}\\n' >/etc/haproxy/haproxy.cfg
printf 'vrrp_instance x {{\\n  auth_pass {WORD}\\n}}\\n' >/etc/keepalived/keepalived.conf
printf '[plugins.x.configs."r".auth]\\n  password = "{WORD}"\\n  auth = "{BASE64}"\\n' >/etc/containerd/config.toml
printf '[host."https://u:{WORD}@r"]\\n' >/etc/containerd/certs.d/x/hosts.toml
printf 'spec:\\n  env:\\n  - name: DB_PASSWORD\\n    value: {WORD}\\n  args: [--token={WORD}]\\n' \\
  >/etc/kubernetes/manifests/etcd.yaml
printf '{PEM}' >/etc/kubernetes/pki/ca.key
printf 'client-key-data: {PEM64}\\ntoken: {WORD}\\n' | tee /etc/kubernetes/admin.conf >/etc/kubernetes/kubelet.conf
printf 'KUBELET_ARGS="--bootstrap-token {WORD}"\\n' >/var/lib/kubelet/kubeadm-flags.env
for pod in kube-system_etcd-m1_u/etcd shop_web_u/web; do
  mkdir -p /var/log/pods/$pod
  cat >/var/log/pods/$pod/0.log <<'EOT'
Authorization: Bearer {WORD}
kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef --certificate-key {HEX}
{{"kind":"Secret","data":{{"odd":"{BASE64}"}}}}
{JWT}
{AGE}
{PEM}
kind: Secret
data:
  odd: {BASE64}
a line that helps
EOT
done
mkdir -p /usr/local/sbin
printf '#!/bin/sh\\necho "journal of $*"; echo "token={WORD}"\\n' >/usr/local/sbin/journalctl
printf '#!/bin/sh\\necho "password {WORD} --password {WORD}"\\n' >/usr/local/sbin/crictl
chmod 755 /usr/local/sbin/*
"""


@pytest.fixture(params=SHELLS)
def host(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    sandbox = Sandbox(request.param)
    sandbox.run(PLANT)
    yield sandbox
    sandbox.close()


def platform(tmp_path: Path) -> Any:
    hosts = {
        "lb": [{"name": "lb1", "address": "10.0.0.20"}],
        "masters": [{"name": f"m{i}", "address": f"10.0.0.{i}"} for i in (1, 2, 3)],
    }
    site = Site(tmp_path / "cluster.yaml")
    site.config.write_text(f"ssh:\n  sudo_password:\n    value: {WORD}\n")
    site.secrets.mkdir(parents=True)
    (site.secrets / "lb-stats").write_text(f"{WORD}\n")
    run = site.runs / "r1"
    run.mkdir(parents=True)
    (run / "output.log").write_text(f"{PEM}\n{JWT}\ntoken: {WORD}\n")
    cluster = Cluster.model_validate({"name": "c", "ssh": {"user": "u"}, "hosts": hosts})
    return SimpleNamespace(cluster=cluster, site=site)


@pytest.mark.parametrize("host", SHELLS[:1], indirect=True)
def test_no_planted_secret_is_in_the_archive_and_what_helps_is(host: Sandbox, tmp_path: Path) -> None:
    """One host stands for a load balancer and a master; two masters are gone, and no API server runs."""

    one_at_a_time = threading.Lock()

    def answer(command: str, stdin: bytes) -> Reply:
        with one_at_a_time:
            return host.exchange(command, stdin)

    gone = {name: Refused(f"{name} refuses") for name in ("m2", "m3")}
    transport = FakeTransport({"lb1": answer, "m1": answer}, unreachable=gone)
    targets = {name: Target(name, "192.0.2.1") for name in ("lb1", "m1", "m2", "m3")}
    here = platform(tmp_path)
    # Only what has a shape or a name is taken out here: nothing is known beforehand.
    scrub = Scrubber()
    found = use.collect(here, transport, targets, use.Bounds(seconds=60), scrub)
    found.files |= use.local_files(here, scrub)
    path = tmp_path / "c.tar.gz"
    use.archive(path, found, {"index.html": scrub(index_page(found, None))})
    with tarfile.open(path) as tar:
        texts = {m.name: tar.extractfile(m).read().decode() for m in tar.getmembers()}  # type: ignore[union-attr]
    leaked = [(name, secret) for name, text in texts.items() for secret in LOOKED_FOR if secret in text]
    assert leaked == []
    assert found.missing == {"hosts/m2": "m2 refuses", "hosts/m3": "m3 refuses", "cluster": "no API server is ready"}
    assert found.cut == []
    assert "a line that helps" in texts["c/hosts/m1/pods/kube-system_etcd-m1_u-etcd-0.log.txt"]
    assert not any("shop" in name for name in texts), "what users run is theirs"
    assert "********" in texts["c/hosts/lb1/haproxy-config.txt"]
    assert "auth_pass ********" in texts["c/hosts/lb1/keepalived-config.txt"]
    assert "journal of" in texts["c/hosts/m1/journal-kubelet.txt"]
    assert {f"c/hosts/m1/{name}.txt" for name in ("system", "disks", "doctor", "manifests", "processes")} <= set(texts)


def test_an_answer_ends_where_its_room_ends(host: Sandbox, tmp_path: Path) -> None:
    host.run("d=/var/log/pods/kube-system_x_u/x; mkdir -p $d; yes 'a long line' | head -n 100000 >$d/0.log")
    transport = FakeTransport({"m1": host.exchange})
    target = {"m1": Target("m1", "192.0.2.1")}
    small = use.collect(platform(tmp_path), transport, target, use.Bounds(60, 16_000), Scrubber())
    assert small.size <= 8_000
    assert small.cut == ["hosts/m1"]
