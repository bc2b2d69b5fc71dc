"""A cluster that is gone and comes back: its data, its hosts, its workstation; drills and the masters' own backups.

The tests of this module are chapters: each takes the platform as the one before left it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from platform_lab import INSTANCE, PlatformLab, wait_for
from s3_store import ACCESS, SECRET, gateway

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400), pytest.mark.long]

MASTERS = ("master-1", "master-2", "master-3")
OBJECTS = 1000
KINDS = (
    "namespaces,configmaps,secrets,serviceaccounts,services,deployments,daemonsets,persistentvolumes,"
    "persistentvolumeclaims,roles,rolebindings,clusterroles,clusterrolebindings,customresourcedefinitions,ingresses,"
    "ipaddresspools.metallb.io,l2advertisements.metallb.io,nodes"
)
# Made anew by whoever joins, or renewed by the day.
PASSING = ("bootstrap-token-", "cluster-info", "kubeadm-certs", "memberlist")

ETCDCTL = (
    "-n kube-system exec etcd-master-1 -- etcdctl --endpoints https://127.0.0.1:2379 "
    "--cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt "
    "--key /etc/kubernetes/pki/etcd/server.key"
)

FILL = f"""set -e
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl create namespace shop
i=0
while [ $i -lt {OBJECTS} ]; do
  i=$((i + 1))
  printf '{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"item-%s","namespace":"shop"}},' $i
  printf '"data":{{"n":"%s"}}}}\\n' $i
done | kubectl create -f - >/dev/null
kubectl -n shop create secret generic door --from-literal=key=sesame
kubectl -n shop create service loadbalancer front --tcp=80:80
kubectl label node worker-2 shop/shelf=left
kubectl create -f - <<END
{{"apiVersion":"v1","kind":"PersistentVolume","metadata":{{"name":"cellar"}},"spec":{{"capacity":{{"storage":"1Gi"}},
 "accessModes":["ReadWriteOnce"],"hostPath":{{"path":"/srv/cellar"}},"storageClassName":"by-hand","persistentVolumeReclaimPolicy":"Retain"}}}}
{{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{{"name":"wine","namespace":"shop"}},"spec":{{"accessModes":["ReadWriteOnce"],
 "storageClassName":"by-hand","resources":{{"requests":{{"storage":"1Gi"}}}}}}}}
END
"""


def objects(lab: PlatformLab) -> dict[str, tuple[str, str]]:
    """By kind, namespace and name: its identity, and a hash of what it says."""
    found = {}
    for one in json.loads(lab.kubectl(f"get {KINDS} -A -o json"))["items"]:
        meta = one["metadata"]
        if meta["name"].startswith(PASSING):
            continue
        said = {k: v for k, v in one.items() if k not in ("metadata", "status")}
        said["labels"] = meta.get("labels")
        if one["kind"] == "Node":
            said.pop("spec")
        text = json.dumps(said, sort_keys=True).encode()
        found[f"{one['kind']}/{meta.get('namespace', '')}/{meta['name']}"] = (
            meta["uid"], hashlib.sha256(text).hexdigest(),
        )  # fmt: skip
    return found


def address(lab: PlatformLab, namespace: str, name: str) -> str:
    said = json.loads(lab.kubectl(f"-n {namespace} get service {name} -o json"))
    return str((said["status"]["loadBalancer"].get("ingress") or [{}])[0].get("ip", ""))


def told(name: str, answer: dict[str, Any]) -> None:
    """Times are measured and shown, never asserted."""
    sys.stdout.write(f"\n{name}: {answer['seconds']} s  {answer['steps']}\n")


@dataclass(frozen=True)
class Kept:
    """The platform as it was when the bundle was made."""

    bundle: Path
    key: Path
    objects: dict[str, tuple[str, str]]
    front: str
    balanced: str


@pytest.fixture(scope="module")
def platform(shipped: PlatformLab) -> PlatformLab:
    """Prometheus' volume is one of those that a restore has to think of."""
    return shipped


@pytest.fixture(scope="module")
def kept(platform: PlatformLab, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    platform.on("master-1", FILL)
    wait_for(lambda: address(platform, "shop", "front") != "", 60)
    wait_for(lambda: "Bound" in platform.kubectl("-n shop get pvc wine"), 60)
    seen = objects(platform)
    made = json.loads(platform("--lab", "backup", "etcd", "--json"))
    safe = tmp_path_factory.mktemp("safe")
    platform("--lab", "backup", "key", "export", str(safe / "key.txt"))
    shutil.copy(made["bundle"], safe)
    return Kept(
        safe / Path(made["bundle"]).name, safe / "key.txt", seen, address(platform, "shop", "front"),
        address(platform, "ingress-nginx", "ingress-nginx-controller-lb"),
    )  # fmt: skip


def restore(lab: PlatformLab, *words: str) -> dict[str, Any]:
    done = lab.run("--lab", "--json", "backup", "restore", *words, "--yes", timeout=1800)
    assert done.returncode in (0, 2), f"{done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["smoke"]["ok"], json.dumps([c for c in answer["smoke"]["checks"] if c["result"] != "ok"])
    # The lab's kernel is this machine's.
    found = [f for f in answer["doctor"]["findings"] if f["check"] != "host.cgroup"]
    assert found == [], found
    return answer


def same(lab: PlatformLab, kept: Kept) -> None:
    """Object by object: the very same ones (their uids), saying the same."""
    now = objects(lab)
    assert sorted(set(kept.objects) - set(now)) == []
    assert [name for name in kept.objects if now[name] != kept.objects[name]] == []
    assert address(lab, "shop", "front") == kept.front
    assert address(lab, "ingress-nginx", "ingress-nginx-controller-lb") == kept.balanced
    assert "Bound" in lab.kubectl("-n shop get pvc wine")
    code = lab.run(
        "lab", "curl", "--", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", f"http://{kept.balanced}/"
    )
    assert code.stdout == "404", "the ingress controller answers behind its old address"


def test_a_drill_brings_everything_back_and_leaves_nothing(platform: PlatformLab, kept: Kept) -> None:
    done = platform.json("backup", "drill", str(kept.bundle))
    told("drill", done)
    assert done["ok"] and done["keys"]["same"]
    assert done["keys"]["found"] > OBJECTS
    assert {k["kind"]: k["found"] >= k["expected"] for k in done["kinds"]}["Secret"]
    left = platform.on(
        done["host"], "ls -d /var/lib/mlops-infra/drill.* 2>/dev/null; ctr -n k8s.io containers ls -q | grep drill; :"
    )
    assert left == ""


def test_a_deleted_namespace_is_put_back_without_a_restore(platform: PlatformLab, kept: Kept, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    saved = platform.json("backup", "resources", "--tree", str(tree))
    assert saved["failed"] == []
    # By hand, as the how-to says. While every namespace is there: a dry run makes none.
    from platform_lab import MAIN

    packed = subprocess.run(["tar", "-C", tree, "-cz", "objects"], capture_output=True, check=True).stdout
    apply = "kubectl --kubeconfig /etc/kubernetes/admin.conf apply -R -f tree/objects --dry-run=server"
    script = f"cd /root; rm -rf tree; mkdir tree; tar -C tree -xz && {apply}; rc=$?; rm -rf tree; exit $rc"
    words = [sys.executable, "-c", MAIN, "lab", "exec", "master-1", "--", script]
    tried = subprocess.run(words, env=platform.environment, input=packed, capture_output=True, check=False, timeout=600)
    assert tried.returncode == 0, tried.stderr.decode()[-4000:]
    said = tried.stdout.decode().splitlines()
    assert len(said) == len(list((tree / "objects").rglob("*.yaml")))
    assert all(line.endswith(" (server dry run)") for line in said)
    assert len([line for line in said if line.startswith("configmap/item-")]) == OBJECTS
    platform.kubectl("delete namespace shop --wait --timeout=120s")
    done = platform.json("backup", "put-back", "-n", "shop", "--yes")
    assert done["left"] == []
    assert len([c for c in done["changes"] if "/ConfigMap/item-" in c["object"]]) == OBJECTS
    data = json.loads(platform.kubectl("-n shop get configmap item-77 -o json"))["data"]
    assert data == {"n": "77"}
    assert json.loads(platform.kubectl("-n shop get secret door -o json"))["data"] == {"key": "c2VzYW1l"}


def test_a_living_cluster_goes_back_and_says_by_name_what_it_loses(platform: PlatformLab, kept: Kept) -> None:
    platform.kubectl("create namespace later")
    answer = restore(platform, str(kept.bundle))
    told("roll back", answer)
    lost = answer["lost"]
    assert lost["known"]
    assert "namespaces/later" in lost["created"]
    # The namespace that was put back holds new objects under the old names.
    assert "configmaps/shop/item-1" in lost["created"]
    same(platform, kept)
    assert "later" not in platform.kubectl("get namespaces")
    revision = platform.kubectl(f"{ETCDCTL} -w json endpoint status")
    assert json.loads(revision)[0]["Status"]["header"]["revision"] > 1_000_000_000


def test_a_single_lost_member_is_no_restore(platform: PlatformLab, kept: Kept) -> None:
    platform.on("master-3", "mv /etc/kubernetes/manifests/etcd.yaml /root/etcd.yaml")
    try:
        wait_for(lambda: "2379" not in platform.on("master-3", "ss -ltn"), 90)
        refused = platform.run("--lab", "backup", "restore", str(kept.bundle), "--yes")
        assert refused.returncode == 1
        assert "only master-3 is lost" in refused.stderr
        assert "masters replace master-3" in refused.stderr
    finally:
        platform.on("master-3", "mv /root/etcd.yaml /etc/kubernetes/manifests/etcd.yaml")
    wait_for(
        lambda: platform.kubectl(f"{ETCDCTL} endpoint health --cluster 2>&1 || :").count("is healthy") == 3, 120, 3
    )


def begun(operation: str) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda lines: any(ln["what"] == "operation_intent" and ln["operation"] == operation for ln in lines)


KILL_ETCD = (
    "for id in $(ctr -n k8s.io containers ls -q 'labels.\"io.kubernetes.container.name\"==etcd'); do "
    "ctr -n k8s.io tasks kill -s KILL $id 2>/dev/null || :; done"
)
STEPS = (
    "restore-stopped", "restore-data", "restore-etcd", "restore-api", "restore-absent", "restore-volumes",
    "restore-kubelet", "restore-finished",
)  # fmt: skip


def workers_disk_is_full(lab: PlatformLab, kept: Kept) -> None:
    """A worker that cannot note what it did keeps the restore open, and the next run says so or ends it."""
    lab("lab", "fail", "disk-full", "worker-2")
    try:
        done = lab.run("--lab", "--json", "backup", "restore", str(kept.bundle), "--yes", timeout=1800)
        assert "Traceback" not in done.stderr
        assert done.returncode != 0
        assert "worker-2" in done.stdout + done.stderr
    finally:
        lab("lab", "heal")


def test_destroyed_data_comes_back_although_every_step_is_killed_and_disks_fill_up_meanwhile(
    platform: PlatformLab, kept: Kept
) -> None:
    for master in MASTERS:
        platform.on(master, f"rm -rf /var/lib/etcd/member; {KILL_ETCD}")
    for operation in STEPS:
        platform.killed("backup", "restore", str(kept.bundle), when=begun(operation), timeout=600)
        # What was begun goes on without its controller, into a disk that is full now.
        platform("lab", "fail", "disk-full", "master-2")
        refused = platform.run("--lab", "backup", "restore", str(kept.bundle), "--yes")
        assert refused.returncode == 1
        assert "too little space" in refused.stderr and "master-2" in refused.stderr
        platform("lab", "heal")
        if operation == "restore-kubelet":
            workers_disk_is_full(platform, kept)
    answer = restore(platform, str(kept.bundle))
    told("destroyed data, from the last kill on", answer)
    assert answer["resumes"]
    same(platform, kept)


def test_a_restore_that_was_cut_off_is_void_once_another_bundle_was_restored(
    platform: PlatformLab, kept: Kept, tmp_path: Path
) -> None:
    platform.kubectl("create namespace later")
    made = json.loads(platform("--lab", "backup", "etcd", "--json"))
    other = Path(shutil.copy(made["bundle"], tmp_path))
    for master in MASTERS:
        platform.on(master, f"rm -rf /var/lib/etcd/member; {KILL_ETCD}")
    platform.killed("backup", "restore", str(kept.bundle), when=begun("restore-data"), timeout=600)
    answer = restore(platform, str(other))
    assert not answer["resumes"]
    assert "later" in platform.kubectl("get namespaces")
    # The first one again: from its beginning, since nothing stands as it left it.
    answer = restore(platform, str(kept.bundle), "--roll-back")
    told("superseded, then back", answer)
    assert not answer["resumes"]
    assert "namespaces/later" in answer["lost"]["created"]
    same(platform, kept)


def test_a_flipped_byte_a_cut_file_and_a_wrong_key_are_refused_before_anything_is_stopped(
    platform: PlatformLab, kept: Kept, tmp_path: Path
) -> None:
    whole = kept.bundle.read_bytes()
    middle = len(whole) // 2
    (tmp_path / "flipped").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    (tmp_path / "cut").write_bytes(whole[:-5000])
    import pyrage

    (tmp_path / "key").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    for words in (
        (str(tmp_path / "flipped"),),
        (str(tmp_path / "cut"),),
        (str(kept.bundle), "--key", str(tmp_path / "key")),
    ):
        refused = platform.run("--lab", "backup", "restore", *words, "--yes")
        assert refused.returncode == 1, refused.stderr
    assert all(platform.nodes().values())


def test_a_full_disk_of_a_master_is_refused_before_anything_is_stopped(platform: PlatformLab, kept: Kept) -> None:
    platform("lab", "fail", "disk-full", "master-2")
    try:
        refused = platform.run("--lab", "backup", "restore", str(kept.bundle), "--yes")
        assert refused.returncode == 1
        assert "too little space" in refused.stderr and "master-2" in refused.stderr
    finally:
        platform("lab", "heal")
    wait_for(lambda: all(platform.nodes().values()), 120)


def test_a_bundle_of_another_cluster_is_refused(platform: PlatformLab, kept: Kept) -> None:
    """The same file, hosts and key: the cluster on them is another one now."""
    platform("lab", "reset", "--yes", timeout=900)
    platform.up()
    refused = platform.run("--lab", "backup", "restore", str(kept.bundle), "--yes", "--roll-back")
    assert refused.returncode == 1
    assert "another cluster" in refused.stderr
    assert all(platform.nodes().values())


def test_bare_hosts_and_an_empty_workstation_become_the_platform_again(
    platform: PlatformLab, kept: Kept, tmp_path: Path
) -> None:
    platform("lab", "reset", "--yes", timeout=900)
    desk = PlatformLab(tmp_path / "cluster.yaml")
    desk.state.mkdir(parents=True)
    shutil.copy(platform.state / "id_ed25519", desk.state)
    words = (str(kept.bundle), "--key", str(kept.key))
    for operation in ("restore-identity", "restore-volumes", "kubeadm-join"):
        desk.killed("backup", "restore", *words, when=begun(operation), timeout=1200)
    answer = restore(desk, *words)
    told("bare hosts, from the last kill on", answer)
    (empty,) = answer["empty_volumes"]
    assert empty.startswith("monitoring/prometheus on worker-")
    same(platform, kept)
    assert (desk.state / "kubeconfig").exists()


SCHEDULE = """
backup:
  copies:
    - name: vault
      ssh:
        address: {address}
        user: root
        directory: /srv/vault
        identity: .mlops-infra/lab/id_ed25519
        host_key: {key}
    - name: cloud
      s3:
        endpoint: http://{here}:{port}
        bucket: bundles
        prefix: site/
        access_key: {{file: access-key}}
        secret_key: {{file: secret-key}}
  schedule: {{enabled: true, calendar: "*-*-* *:*:00/20", delay: 5s}}
"""


STORE_PORT = 7070


@contextmanager
def bucket(lab: PlatformLab, directory: Path) -> Iterator[Path]:
    """A real S3-compatible store in the lab's network, where the workstation is; yields the directory of its bucket."""
    root = directory / "buckets"
    (root / "bundles").mkdir(parents=True)
    (directory / "meta").mkdir()
    environment = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}
    words = ["ip", "netns", "exec", f"lab{INSTANCE}-net", str(gateway()), "--port", f":{STORE_PORT}"]
    words += ["posix", "--sidecar", str(directory / "meta"), str(root)]
    for name, secret in (("access-key", ACCESS), ("secret-key", SECRET)):
        (lab.config.parent / name).write_text(secret)
    with (directory / "log").open("wb") as log:
        child = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        try:
            yield root / "bundles"
        finally:
            child.terminate()
            child.wait(20)


def copies(lab: PlatformLab) -> list[str]:
    return lab.on("worker-3", "ls /srv/vault 2>/dev/null || :").split()


def test_the_masters_back_up_by_themselves_and_another_takes_over(
    platform: PlatformLab, kept: Kept, tmp_path: Path
) -> None:
    with bucket(platform, tmp_path) as cloud:
        scheduled(platform, cloud)
    assert platform.on("master-1", "ls /etc/mlops-infra/backup 2>/dev/null || :") == ""


def scheduled(platform: PlatformLab, cloud: Path) -> None:
    key = " ".join(platform.on("worker-3", "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
    before = platform.config.read_text()
    lines = before.splitlines()
    shown = json.loads(platform("--lab", "config", "show", "--json"))
    place = shown["hosts"]["workers"][2]["address"]
    here = f"{place.rpartition('.')[0]}.1"
    schedule = SCHEDULE.format(address=place, key=key, here=here, port=STORE_PORT)
    start = next(i for i, line in enumerate(lines) if line.startswith("backup:"))
    end = next((i for i in range(start + 1, len(lines)) if lines[i] and lines[i][0] not in " #"), len(lines))
    platform.config.write_text("\n".join(lines[:start] + lines[end:]) + schedule)
    too_old = f"{shown['name']}-20250101T000000Z.tar.age"
    platform.on("worker-3", f"rm -rf /srv/vault; mkdir /srv/vault; : >/srv/vault/{too_old}")
    for master in MASTERS:
        platform.on(master, "rm -rf /var/lib/mlops-infra/backups")
    try:
        assert platform.json("backup", "schedule", "--yes")["exit_code"] == 0
        wait_for(lambda: len(found := copies(platform)) == 1 and too_old not in found, 240)
        holder = next(m for m in MASTERS if platform.on(m, "ls /var/lib/mlops-infra/backups 2>/dev/null || :").strip())
        metric = platform.on(holder, "cat /var/lib/prometheus/node-exporter/backup-last_success_timestamp_seconds.prom")
        assert "\nmlops_infra_backup_last_success_timestamp_seconds 1" in metric
        for where in ("vault", "cloud"):
            fetched = Path(platform.json("backup", "fetch", where)["bundle"])
            assert platform.json("backup", "verify", fetched.name)["ok"]
            held = {f["path"]: f["sha256"] for f in platform.json("backup", "show", fetched.name)["files"]}
            named = {f"files/{name}": platform.config.parent / name for name in ("access-key", "secret-key")}
            named |= {f"secrets/{path.name}": path for path in (platform.state / "secrets").iterdir()}
            for name, path in {"cluster.yaml": platform.config, **named}.items():
                assert held[f"cluster/{name}"] == hashlib.sha256(path.read_bytes()).hexdigest(), name
            assert {"cluster/known_hosts", "cluster/overlay.yaml"} < held.keys()
            fetched.unlink()
        written = [platform.on(m, "stat -c %Y /etc/mlops-infra/backup/site.tar") for m in MASTERS]
        assert platform.json("backup", "schedule", "--yes")["exit_code"] == 0
        assert [platform.on(m, "stat -c %Y /etc/mlops-infra/backup/site.tar") for m in MASTERS] == written
        assert set(copies(platform)) <= {p.name for p in (cloud / "site").iterdir()}
        platform("lab", "fail", "cable", holder)
        began = time.monotonic()
        wait_for(lambda: len(copies(platform)) > 1, 600, 3)
        sys.stdout.write(f"\ntaken over after {time.monotonic() - began:.0f} s\n")
        others = [m for m in MASTERS if m != holder]
        assert any(platform.on(m, "ls /var/lib/mlops-infra/backups 2>/dev/null || :").strip() for m in others)
        said = "journalctl -q -o cat --no-pager -u mlops-infra-backup | grep -c 'no majority' || :"
        platform("lab", "heal")
        assert int(platform.on(holder, said)) > 0, "cut off, it kept what it had"
        assert [platform.on(m, said).strip() for m in others] == ["0", "0"]
    finally:
        platform("lab", "heal")
        platform.config.write_text(before)
        platform("--lab", "backup", "schedule", "--off", "--yes", timeout=600)
