"""The drill's script with the real etcd, kube-apiserver and kubectl: it lists what came back, and leaves nothing.

Containers are stood in for by the programs themselves, which the lab has built.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox import Sandbox, needs_root

from mlops_infra.app.backup_objects import parse_dump
from mlops_infra.operations.etcd_snapshot import SnapshotReader
from mlops_infra.render import render

PRODUCTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlops-infra/lab/products"
ETCD = next(PRODUCTS.glob("etcd-*/etcd"), None)
ETCDCTL = next(PRODUCTS.glob("etcdctl-*/etcdctl"), None)
APISERVER = next(PRODUCTS.glob("kubernetes-*/kube-apiserver"), None)
pytestmark = [
    needs_root,
    pytest.mark.skipif(not (ETCD and ETCDCTL and APISERVER), reason="the lab has built no Kubernetes here yet"),
]
WORK = "/var/lib/mlops-infra/drill.abc"

CTR = f"""#!/bin/sh
# A stand-in for containerd: runs the programs themselves, with /work as the directory that it is.
shift 2
mapped() {{ for w; do case $w in /work*) w={WORK}${{w#/work}} ;; *=/work*) w=${{w%%=*}}={WORK}${{w#*=/work}} ;; esac
  printf '%s\\n' "$w"; done; }}
program() {{ case $1 in etcd) echo {ETCD} ;; etcdctl) echo {ETCDCTL} ;; kube-apiserver) echo {APISERVER} ;; esac; }}
case "$1 $2" in
'containers ls') ls /tmp/tasks 2>/dev/null; : ;;
'containers delete') rm -f "/tmp/tasks/$3" ;;
'tasks ls') for t in /tmp/tasks/*; do echo "${{t##*/}} $(cat "$t") RUNNING"; done ;;
'tasks kill') kill -9 "$(cat "/tmp/tasks/$5")" ;;
'tasks exec') shift 5; p=$(program "$1"); shift; exec "$p" "$@" ;;
run*)
  shift; back= log=/dev/null
  while :; do
    case $1 in
    -d) back=yes; shift ;;
    --rm) shift ;;
    --log-uri) log=${{2#file://}}; shift 2 ;;
    --*) shift 2 ;;
    *) break ;;
    esac
  done
  id=$2; shift 2
  p=$(program "$1"); shift
  IFS='
'
  set -- $(mapped "$@")
  if [ -n "$back" ]; then
    mkdir -p /tmp/tasks; setsid "$p" "$@" >"$log" 2>&1 </dev/null & echo $! >"/tmp/tasks/$id"
  else exec "$p" "$@"; fi ;;
esac
"""


@pytest.fixture
def box() -> Iterator[Sandbox]:
    made = Sandbox("dash")
    made.run("ip link set lo up")
    yield made
    made.close()


def test_a_real_api_server_lists_what_a_snapshot_holds_and_nothing_stays(box: Sandbox) -> None:
    box.start(
        f"exec {ETCD} --name old --data-dir /tmp/old --listen-client-urls http://127.0.0.9:2379 "
        "--advertise-client-urls http://127.0.0.9:2379 --listen-peer-urls http://127.0.0.9:2390 "
        "--initial-advertise-peer-urls http://127.0.0.9:2390 --initial-cluster old=http://127.0.0.9:2390 "
        "--log-level error >/tmp/old.log 2>&1 </dev/null"
    )
    old = f"{ETCDCTL} --endpoints http://127.0.0.9:2379"
    box.run(f"until {old} endpoint health >/dev/null 2>&1; do sleep 0.2; done")
    item = '{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"prices","namespace":"shop"},"data":{"apple":"1"}}'
    assert box.exchange(f"{old} put /registry/configmaps/shop/prices", item.encode()).rc == 0
    box.run(f"mkdir -p {WORK} /etc/kubernetes/manifests; {old} snapshot save {WORK}/snapshot.db 2>/dev/null")
    box.run('for p in etcd kube-apiserver; do echo "    image: $p:1" >/etc/kubernetes/manifests/$p.yaml; done')
    box.exchange("cat >/usr/local/bin/ctr && chmod 755 /usr/local/bin/ctr", CTR.encode())
    assert APISERVER is not None
    box.run(f"ln -sf {APISERVER.parent}/kubectl /usr/local/bin/kubectl")
    digest = hashlib.sha256(box.exchange(f"cat {WORK}/snapshot.db").stdout).hexdigest()
    script = render("backup/drill.sh.j2", etcd_image="''", sha256=digest, services="10.96.0.0/12")
    box.exchange(f"cat >{WORK}/run.sh", script.encode())
    reply = box.exchange(f"sh {WORK}/run.sh {WORK}")
    steps: list[str] = []
    packed = bytearray()
    reader = SnapshotReader("m1", steps.append, packed.extend)
    reader.give(reply.stdout)
    assert steps == ["etcd", "api", "objects"], reply.stderr[-2000:]
    assert reader.notes["keys"] == "1"
    dump = parse_dump(gzip.decompress(bytes(packed)).decode())
    assert dump.failed == ()
    found = {str(one.reference): one.content for one in dump.objects}
    assert found["shop/ConfigMap/prices"]["data"] == {"apple": "1"}
    assert "Namespace/kube-system" in found, "what an API server makes for itself"
    assert box.run(f"ls -d {WORK} /tmp/tasks/* 2>/dev/null || :") == ""
