"""The scripts of a restore on a host with stand-ins for containerd, kubelet and kubeadm: what they move, keep and mark,
and that each may be cut off and run again."""

from __future__ import annotations

import hashlib

import pytest
from sandbox import Sandbox, needs_root

from mlops_infra.core import Operation, Secret
from mlops_infra.operations.restore import STATE, Master, Restore, emptied_command

pytestmark = needs_root

SNAPSHOT = b"the snapshot"
TOKEN = "20260102T030405Z-abcdef"
MASTERS = tuple(
    Master(f"m{i}", f"10.0.0.{i}", f"https://10.0.0.{i}:6443", "kind: InitConfiguration\n", None) for i in (1, 2, 3)
)
RESTORE = Restore(TOKEN, MASTERS, "3.5.15", hashlib.sha256(SNAPSHOT).hexdigest(), 5_000)
M1 = MASTERS[0]
WORK = f"{STATE}/{TOKEN}"

# Containers run as long as their manifest is there; a restore makes a member whose content names the command.
STANDINS = r"""
set -e
mkdir -p /etc/kubernetes/manifests /etc/kubernetes/pki /var/lib/etcd/member/wal
for part in kube-apiserver kube-controller-manager kube-scheduler etcd; do
  echo "    image: registry.k8s.io/$part:1" >/etc/kubernetes/manifests/$part.yaml
done
echo old >/var/lib/etcd/member/wal/0
cat >/usr/local/bin/ctr <<'END'
#!/bin/sh
shift 2
there() { for f in /etc/kubernetes/manifests/*.yaml; do [ ! -e "$f" ] || basename "$f" .yaml; done; }
case "$1 $2" in
'tasks kill') echo "ended $5" >>/tmp/calls.log ;;
'tasks ls') echo 'TASK PID STATUS'; for p in $(there); do echo "id-$p 7 RUNNING"; done ;;
'images ls') echo there ;;
'containers ls')
  case "$*" in *container.name*) for p in $(there); do [ "$p" != "${4##*==}" ] || echo "id-$p"; done ;; esac ;;
'tasks exec')
  case "$*" in
  *'member list'*) cat /tmp/members ;;
  *'endpoint status'*) echo '[{"Status":{"leader":17}}]' ;;
  esac ;;
'run --rm')
  echo "$*" >>/tmp/ctr.log
  case "$*" in
  *--version*) echo "etcd Version: $(cat /tmp/release)" ;;
  *'snapshot restore'*)
    [ ! -e /tmp/no-restore ] || { echo 'expected sha256'; exit 1; }
    mkdir -p /var/lib/etcd/.restoring/member/wal; echo new >/var/lib/etcd/.restoring/member/wal/0 ;;
  esac ;;
esac
END
for name in systemctl crictl kubectl kubeadm; do
  printf '#!/bin/sh\necho "%s $*" >>/tmp/calls.log\n' "$name" >/usr/local/bin/$name
done
chmod 755 /usr/local/bin/*
echo 3.5.15 >/tmp/release
: >/tmp/calls.log
"""


@pytest.fixture
def host(sandbox: Sandbox) -> Sandbox:
    sandbox.run(STANDINS)
    sandbox.run(f"mkdir -p {WORK} && printf %s '{SNAPSHOT.decode()}' >{WORK}/snapshot.db")
    members = "\n".join(
        f"{i}, started, m{i}, https://10.0.0.{i}:2380, https://10.0.0.{i}:2379, false" for i in (1, 2, 3)
    )
    sandbox.run(f"printf '%s\\n' '{members}' >/tmp/members")
    return sandbox


def run(host: Sandbox, operation: Operation) -> None:
    result = host.send(host.batch(script=operation.script({})))
    assert result.operation_rc == 0, result
    assert operation.standing(host.observe(operation.probes)).state == "done"


def refused(host: Sandbox, operation: Operation) -> str:
    result = host.send(host.batch(script=operation.script({})))
    assert result.operation_rc not in (0, None)
    assert operation.standing(host.observe(operation.probes)).state == "pending"
    return result.operation_output


def test_the_old_data_is_kept_and_the_new_takes_its_place(host: Sandbox) -> None:
    run(host, RESTORE.stop(M1))
    assert host.run("ls /etc/kubernetes/manifests") == ""
    run(host, RESTORE.data(M1))
    assert host.run("cat /var/lib/etcd/member/wal/0") == "new\n"
    assert host.run(f"cat /var/lib/etcd/before-{TOKEN}/member/wal/0") == "old\n"
    asked = host.run("cat /tmp/ctr.log").splitlines()[-1]
    assert " etcdctl snapshot restore /in/snapshot.db --name m1 " in asked
    assert "m1=https://10.0.0.1:2380,m2=https://10.0.0.2:2380,m3=https://10.0.0.3:2380" in asked
    assert f"--initial-cluster-token {TOKEN}" in asked
    assert asked.endswith("--bump-revision 189486240000 --mark-compacted")
    run(host, RESTORE.etcd(M1))
    assert host.run("ls /etc/kubernetes/manifests") == "etcd.yaml\n"
    run(host, RESTORE.api(M1))
    assert host.run("ls /etc/kubernetes/manifests | wc -l").strip() == "4"
    assert "systemctl restart kubelet" in host.run("cat /tmp/calls.log")
    run(host, RESTORE.finish(M1))
    assert host.run(f"ls {STATE}") == f"{TOKEN}\n"
    assert "snapshot.db" not in host.run(f"ls {WORK}")
    assert host.run(f"cat /var/lib/etcd/before-{TOKEN}/member/wal/0") == "old\n"


def test_names_and_services_begin_anew_before_the_kubelet_that_starts_them_again(host: Sandbox) -> None:
    host.run("for p in coredns kube-proxy other; do : >/etc/kubernetes/manifests/$p.yaml; done")
    run(host, RESTORE.kubelet("w1"))
    assert host.run("cat /tmp/calls.log").splitlines() == [
        "ended id-coredns", "ended id-kube-proxy", "systemctl restart kubelet",
    ]  # fmt: skip


def test_volumes_whose_directories_are_gone_are_made_and_told_and_others_stay_as_they_are(host: Sandbox) -> None:
    operation = RESTORE.volumes("w1", M1, "local-path")
    top = "/srv/volumes/pvc"
    host.run(
        f"printf '#!/bin/sh\\nprintf \"{top}-1_a_data w1\\\\n{top}-2_a_db w1\\\\n{top}-3_b_x w2\\\\n\"\\n' "
        ">/usr/local/bin/kubectl"
    )
    (asked,) = operation.inputs
    assert asked.host == "m1"
    said = host.run(asked.script).strip()
    assert said.split() == [f"volumes={top}-1_a_data", f"{top}-2_a_db"]
    host.run(f"mkdir -p {top}-2_a_db {STATE}/an-earlier-one && echo kept >{top}-2_a_db/rows")
    result = host.send(host.batch(script=operation.script({"volumes": Secret(said.partition("=")[2])})))
    assert result.operation_rc == 0, result
    assert operation.standing(host.observe(operation.probes)).state == "done"
    assert host.run(f"stat -c %a {top}-1_a_data; ls {top}-1_a_data; cat {top}-2_a_db/rows") == "777\nkept\n"
    assert host.run(emptied_command(TOKEN)) == f"{top}-1_a_data\n"
    assert host.run(f"ls {STATE}") == f"{TOKEN}\n"


def test_data_that_was_restored_but_not_marked_is_restored_again_and_the_old_stays_the_old(host: Sandbox) -> None:
    run(host, RESTORE.stop(M1))
    run(host, RESTORE.data(M1))
    host.run(f"rm {WORK}/data; echo half >/var/lib/etcd/member/wal/0; mkdir /var/lib/etcd/.restoring")
    run(host, RESTORE.data(M1))
    assert host.run("cat /var/lib/etcd/member/wal/0") == "new\n"
    assert host.run(f"cat /var/lib/etcd/before-{TOKEN}/member/wal/0") == "old\n"


def test_after_another_bundle_a_restore_that_was_cut_off_is_void_and_what_was_here_before_both_stays(
    host: Sandbox,
) -> None:
    host.run(f"echo b1 >{WORK}/bundle")
    run(host, RESTORE.stop(M1))
    run(host, RESTORE.data(M1))
    run(host, RESTORE.etcd(M1))
    host.run("echo half >/var/lib/etcd/member/wal/0")
    other = Restore("20260103T030405Z-fedcba", MASTERS, "3.5.15", RESTORE.sha256, 5_000)
    host.run(f"mkdir {other.work} && cp {WORK}/snapshot.db {other.work} && echo b2 >{other.work}/bundle")
    run(host, other.stop(M1))
    assert host.run(f"ls {STATE}") == f"{other.token}\nmanifests\n"
    run(host, other.data(M1))
    run(host, other.etcd(M1))
    run(host, other.api(M1))
    run(host, other.finish(M1))
    assert host.run("ls /var/lib/etcd") == f"before-{other.token}\nmember\n"
    assert host.run(f"cat /var/lib/etcd/before-{other.token}/member/wal/0") == "old\n"
    assert RESTORE.data(M1).standing(host.observe(RESTORE.data(M1).probes)).state == "pending"


def test_from_3_6_on_etcdutl_restores_and_another_minor_is_refused(host: Sandbox) -> None:
    run(host, RESTORE.stop(M1))
    host.run("echo 3.6.1 >/tmp/release")
    assert "must be of one minor version" in refused(host, RESTORE.data(M1))
    assert host.run("cat /var/lib/etcd/member/wal/0") == "old\n"
    newer = Restore(TOKEN, MASTERS, "3.6.0", RESTORE.sha256, 5_000)
    run(host, newer.data(M1))
    assert " etcdutl snapshot restore " in host.run("tail -n 1 /tmp/ctr.log")


def test_a_snapshot_that_is_not_the_bundles_is_refused_and_nothing_is_moved(host: Sandbox) -> None:
    run(host, RESTORE.stop(M1))
    host.run(f"echo x >>{WORK}/snapshot.db")
    assert "is not the bundle's" in refused(host, RESTORE.data(M1))
    assert host.run("cat /var/lib/etcd/member/wal/0") == "old\n"


def test_a_restore_that_etcd_refuses_leaves_the_old_data(host: Sandbox) -> None:
    run(host, RESTORE.stop(M1))
    host.run(": >/tmp/no-restore")
    assert "expected sha256" in refused(host, RESTORE.data(M1))
    assert host.run("cat /var/lib/etcd/member/wal/0") == "old\n"


def test_a_bare_host_gets_its_manifests_aside_and_nothing_starts(host: Sandbox) -> None:
    host.run("rm -rf /var/lib/etcd/member")
    # A stand-in that writes what kubeadm's phases write.
    host.run(
        'printf \'#!/bin/sh\\necho "kubeadm $*" >>/tmp/calls.log\\n'
        "case $* in *control-plane*) for p in kube-apiserver kube-controller-manager kube-scheduler; do "
        "echo x >/etc/kubernetes/manifests/$p.yaml; done ;; "
        '*"etcd local"*) echo "image: e:1" >/etc/kubernetes/manifests/etcd.yaml ;; esac\\n\' >/usr/local/bin/kubeadm'
    )
    host.run("rm -f /etc/kubernetes/manifests/*")
    bare = Master(
        "m1",
        M1.address,
        M1.server,
        M1.config,
        {"/etc/kubernetes/pki/ca.key": b"key", "/etc/kubernetes/pki/ca.crt": b"crt"},
    )
    run(host, RESTORE.stop(bare))
    run(host, RESTORE.identity(bare))
    assert host.run("ls /etc/kubernetes/manifests") == ""
    assert host.run(f"ls {STATE}/manifests | wc -l").strip() == "4"
    assert host.run("stat -c %a /etc/kubernetes/pki/ca.key") == "600\n"
    calls = host.run("cat /tmp/calls.log").splitlines()
    assert calls[0] == "systemctl stop kubelet"
    assert calls[-1].startswith("kubeadm init phase kubelet-start")
    assert host.run("ls /run/mlops-infra/restore-init.yaml 2>/dev/null || :") == ""
    run(host, RESTORE.data(bare))
    assert host.run("cat /var/lib/etcd/member/wal/0") == "new\n"
    run(host, RESTORE.etcd(bare))
    host.run("mkdir -p /var/lib/kubelet/pki && : >/var/lib/kubelet/pki/kubelet-client-current.pem")
    run(host, RESTORE.api(bare))
    assert "kubeadm init phase kubelet-finalize all" in host.run("cat /tmp/calls.log")
