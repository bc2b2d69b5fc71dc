"""How the API is read: with curl as with kubectl, put to a real etcd and kube-apiserver, which the lab has built."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sandbox import Sandbox, needs_root

from mlops_infra.core import ABSENT, ApiList, ApiObject, Probe, Unknown
from mlops_infra.engine.observe import ApiEndpoint, compile_observe
from mlops_infra.engine.parse import parse_answers

PRODUCTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlops-infra/lab/products"
ETCD = next(PRODUCTS.glob("etcd-*/etcd"), None)
APISERVER = next(PRODUCTS.glob("kubernetes-*/kube-apiserver"), None)
pytestmark = [
    needs_root,
    pytest.mark.skipif(not (ETCD and APISERVER), reason="the lab has built no Kubernetes here yet"),
]
NONCE = "abcdef123456"
SERVER = "https://127.0.0.9:6443"

KEYS = """\
set -e
mkdir -p /etc/kubernetes/pki && cd /etc/kubernetes/pki
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.crt -subj /CN=ca
for who in server admin; do
  case $who in server) subject=/CN=server ext=subjectAltName=IP:127.0.0.9 ;;
  admin) subject=/O=system:masters/CN=admin ext=extendedKeyUsage=clientAuth ;; esac
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -CA ca.crt -CAkey ca.key \
    -keyout $who.key -out $who.crt -subj "$subject" -addext "$ext"
done
b() { base64 -w 0 "$1"; }
cat >/etc/kubernetes/admin.conf <<END
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: $(b ca.crt)
    server: https://api.example.test:6443
  name: one
contexts:
- context:
    cluster: one
    user: admin
  name: admin@one
current-context: admin@one
kind: Config
users:
- name: admin
  user:
    client-certificate-data: $(b admin.crt)
    client-key-data: $(b admin.key)
END
"""
CONFIGMAP = ApiObject("v1", "ConfigMap", "prices", "default")
ASKED: dict[ApiObject, bool] = {
    CONFIGMAP: True,
    ApiObject("v1", "Namespace", "kube-system"): True,
    ApiObject("rbac.authorization.k8s.io/v1", "ClusterRole", "system:basic-user"): True,
    ApiObject("apiextensions.k8s.io/v1", "CustomResourceDefinition", "pools.example.test"): True,
    ApiObject("v1", "ConfigMap", "nowhere", "default"): False,
    ApiObject("example.test/v1", "Pool", "nowhere", "default"): False,
    ApiObject("nobody.example.test/v1", "Pool", "nowhere", "default"): False,
}
"""Whether it is there."""
NODES = ApiList("nodes", api_version="v1")
MAPS = ApiList("configmaps", "shop=left", api_version="v1")
OBJECTS = """
{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices", "namespace": "default",
 "labels": {"shop": "left"}}, "data": {"apple": "1\\n==> a/7 <==\\n2"}}
{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
 "metadata": {"name": "pools.example.test"}, "spec": {"group": "example.test",
 "scope": "Namespaced", "names": {"kind": "Pool", "plural": "pools"},
 "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}
"""


@pytest.fixture(scope="module")
def master() -> Iterator[Sandbox]:
    made = Sandbox("dash")
    try:
        made.run("ip link set lo up")
        made.run(f"exec 2>/tmp/openssl.log; {KEYS}")
        made.start(
            f"exec {ETCD} --data-dir /tmp/etcd --listen-client-urls http://127.0.0.9:2379 --log-level error "
            "--advertise-client-urls http://127.0.0.9:2379 --listen-peer-urls http://127.0.0.9:2380 "
            "--initial-advertise-peer-urls http://127.0.0.9:2380 --initial-cluster default=http://127.0.0.9:2380 "
            ">/tmp/etcd.log 2>&1 </dev/null"
        )
        pki = "/etc/kubernetes/pki"
        made.start(
            f"exec {APISERVER} --etcd-servers http://127.0.0.9:2379 --advertise-address 127.0.0.9 "
            f"--bind-address 127.0.0.9 --tls-cert-file {pki}/server.crt --tls-private-key-file {pki}/server.key "
            f"--client-ca-file {pki}/ca.crt --authorization-mode RBAC --service-cluster-ip-range 10.96.0.0/16 "
            f"--service-account-issuer https://one --service-account-key-file {pki}/ca.crt "
            f"--service-account-signing-key-file {pki}/ca.key --cert-dir /tmp/certs >/tmp/api.log 2>&1 </dev/null"
        )
        assert APISERVER is not None
        made.run(f"ln -sf {APISERVER.parent}/kubectl /usr/local/bin/kubectl")
        kubectl = f"kubectl --kubeconfig /etc/kubernetes/admin.conf --server {SERVER}"
        made.run(
            f"for i in $(seq 200); do {kubectl} get --raw /readyz >/dev/null 2>&1 && exit; sleep 0.2; done; exit 1"
        )
        assert made.exchange(f"{kubectl} apply -f -", OBJECTS.encode()).rc == 0
        made.run(f"{kubectl} wait --for=condition=Established crd/pools.example.test --timeout=20s")
        yield made
    finally:
        made.close()


def read(master: Sandbox, asked: list[Probe[Any]], *, server: str = SERVER) -> Mapping[Any, Any]:
    script = compile_observe(asked, NONCE, ApiEndpoint(server))
    reply = master.exchange("sh -s", script)
    assert reply.rc == 0, reply.stderr
    assert master.run("ls -d /run/mlops-infra/api.* 2>/dev/null || :") == "", "no key is left lying about"
    return dict(parse_answers(reply.stdout, asked, NONCE))


def without_managers(found: Any) -> Any:
    """kubectl leaves these out."""
    if not isinstance(found, Mapping):
        return found
    return {**found, "metadata": {k: v for k, v in found["metadata"].items() if k != "managedFields"}}


def test_curl_is_told_what_kubectl_is_told(master: Sandbox) -> None:
    probes: list[Probe[Any]] = [*ASKED, NODES, MAPS]
    quick = read(master, probes)
    for probe, there in ASKED.items():
        assert isinstance(quick[probe], Mapping) if there else quick[probe] == ABSENT, probe
    assert quick[CONFIGMAP]["data"] == {"apple": "1\n==> a/7 <==\n2"}
    assert quick[NODES] == ()
    assert [(m["kind"], m["apiVersion"], m["metadata"]["name"]) for m in quick[MAPS]] == [("ConfigMap", "v1", "prices")]
    # Of the sandbox's own overlay, so this machine keeps its curl.
    master.run("mv /usr/bin/curl /tmp/curl")
    try:
        slow = read(master, probes)
    finally:
        master.run("mv /tmp/curl /usr/bin/curl")
    assert {p: without_managers(quick[p]) for p in ASKED} == {p: slow[p] for p in ASKED}
    assert [without_managers(m) for m in quick[MAPS]] == list(slow[MAPS])


def test_who_is_not_let_in_is_told_nothing_and_no_answer_is_no_absence(master: Sandbox) -> None:
    silent = read(master, [CONFIGMAP, NODES], server="https://127.0.0.9:6499")
    assert isinstance(silent[CONFIGMAP], Unknown) and "6499" in silent[CONFIGMAP].reason
    assert isinstance(silent[NODES], Unknown)
    master.run("cp /etc/kubernetes/admin.conf /tmp/kept")
    try:
        master.run(
            "cd /etc/kubernetes/pki && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            "-keyout other.key -out other.crt -subj /O=system:masters/CN=other 2>/dev/null && "
            'sed -i "s/client-certificate-data:.*/client-certificate-data: $(base64 -w 0 other.crt)/; '
            's/client-key-data:.*/client-key-data: $(base64 -w 0 other.key)/" /etc/kubernetes/admin.conf'
        )
        refused = read(master, [CONFIGMAP])[CONFIGMAP]
        assert isinstance(refused, Unknown), refused
        master.run("sed -i /client-key-data/d /etc/kubernetes/admin.conf")
        assert isinstance(read(master, [CONFIGMAP])[CONFIGMAP], Unknown)
    finally:
        master.run("mv /tmp/kept /etc/kubernetes/admin.conf")
