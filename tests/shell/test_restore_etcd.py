"""The restore's scripts with the real etcd: three members of one snapshot, started with the flags kubeadm leaves.

Containers are stood in for by the programs themselves, which the lab has built.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from sandbox import Sandbox, needs_root

from mlops_infra.app.backup_loss import compare
from mlops_infra.operations.restore import STATE, Master, Restore

PRODUCTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlops-infra/lab/products"
ETCD = next(PRODUCTS.glob("etcd-*/etcd"), None)
ETCDCTL = next(PRODUCTS.glob("etcdctl-*/etcdctl"), None)
pytestmark = [needs_root, pytest.mark.skipif(not (ETCD and ETCDCTL), reason="the lab has built no etcd here yet")]

TOKEN = "20260102T030405Z-abcdef"
MASTERS = tuple(Master(f"m{i}", f"127.0.0.{i}", "", "", None) for i in (1, 2, 3))

CTR = f"""#!/bin/sh
# A stand-in for containerd: runs etcd's own programs, with the mounts' names as the directories that they are.
shift 2
case "$1 $2" in
'images ls') echo there ;;
'run --rm')
  shift 2
  while [ "$1" = --mount ]; do shift 2; done
  shift 2
  program=$1; shift
  for word; do
    shift
    case $word in /in/*) word={STATE}/{TOKEN}/${{word#/in/}} ;; /out/*) word=/var/lib/etcd/${{word#/out/}} ;; esac
    set -- "$@" "$word"
  done
  case $program in etcd) exec {ETCD} "$@" ;; etcdctl) exec {ETCDCTL} "$@" ;; esac ;;
esac
"""
# What kubeadm wrote when each joined: the first knows only itself, the next those before it.
FLAGS = {1: "new m1", 2: "existing m1 m2", 3: "existing m1 m2 m3"}


def start(box: Sandbox, nth: int) -> None:
    state, *names = FLAGS[nth].split()
    cluster = ",".join(f"{name}=https://127.0.0.{name[1:]}:2380" for name in names)
    box.start(
        f"exec {ETCD} --name m{nth} --data-dir /var/lib/etcd-{nth} --initial-cluster {cluster} --peer-auto-tls "
        f"--initial-cluster-state {state} --initial-advertise-peer-urls https://127.0.0.{nth}:2380 "
        f"--listen-peer-urls https://127.0.0.{nth}:2380 --listen-client-urls http://127.0.0.{nth}:2379 "
        f"--advertise-client-urls http://127.0.0.{nth}:2379 --log-level error >/tmp/m{nth}.log 2>&1 </dev/null"
    )


@pytest.fixture
def box() -> object:
    made = Sandbox("dash")
    made.run("ip link set lo up")
    yield made
    made.close()


def ask(box: Sandbox, words: str, host: int = 1) -> str:
    return box.run(f"{ETCDCTL} --endpoints http://127.0.0.{host}:2379 --command-timeout=20s {words}")


def test_three_members_come_up_from_one_snapshot_with_all_that_was_in_it(box: Sandbox) -> None:
    box.start(
        f"exec {ETCD} --name old --data-dir /tmp/old --listen-client-urls http://127.0.0.9:2379 "
        "--advertise-client-urls http://127.0.0.9:2379 --listen-peer-urls http://127.0.0.9:2380 "
        "--initial-advertise-peer-urls http://127.0.0.9:2380 --initial-cluster old=http://127.0.0.9:2380 "
        "--log-level error >/tmp/old.log 2>&1 </dev/null"
    )
    box.run(f"until {ETCDCTL} --endpoints http://127.0.0.9:2379 endpoint health >/dev/null 2>&1; do sleep 0.2; done")
    for nth in range(20):
        ask(box, f"put /registry/configmaps/ns/item-{nth} {nth}", 9)
    work = f"{STATE}/{TOKEN}"
    box.run(f"mkdir -p {work} {STATE}/manifests && printf '    image: etcd:1\\n' >{STATE}/manifests/etcd.yaml")
    ask(box, f"snapshot save {work}/snapshot.db 2>/dev/null", 9)
    ask(box, "put /registry/configmaps/ns/later x", 9)
    packed = subprocess.run(
        box.argv(
            f'{ETCDCTL} --endpoints http://127.0.0.9:2379 -w json get --prefix --keys-only "" | gzip -1'
        ), capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert compare(packed, 21, None).created == ("configmaps/ns/later",)
    box.exchange("cat >/usr/local/bin/ctr && chmod 755 /usr/local/bin/ctr", CTR.encode())
    digest = hashlib.sha256(box.exchange(f"cat {work}/snapshot.db").stdout).hexdigest()
    restore = Restore(TOKEN, MASTERS, "3.5.15", digest, 21)
    for nth, master in enumerate(MASTERS, start=1):
        result = box.send(box.batch(script=restore.data(master).script({})))
        assert result.operation_rc == 0, result.operation_output
        box.run(f"mv /var/lib/etcd /var/lib/etcd-{nth}; rm {work}/data")
    for nth in (1, 2, 3):
        start(box, nth)
    box.run(f"until {ETCDCTL} --endpoints http://127.0.0.1:2379 endpoint health >/dev/null 2>&1; do sleep 0.2; done")
    members = ask(box, "member list").splitlines()
    assert len([m for m in members if ", started, " in m and m.endswith(", false")]) == 3
    assert ask(box, "get --prefix --print-value-only /registry/", 3).split() == sorted(map(str, range(20)))
    told = json.loads(ask(box, "get /x -w json"))
    assert told["header"]["revision"] == 189_486_245_000, "a thousand a second since 2020, whatever the snapshot's was"
    assert (
        "compacted" in box.exchange(f"{ETCDCTL} --endpoints http://127.0.0.2:2379 get --rev 10 /x 2>&1").stdout.decode()
    )
