"""The scripts of init, join and mint, run on a temporary root with stand-ins for kubeadm, kubectl and ctr."""

import base64
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.core import Secret
from mlops_infra.operations.kubeadm import Joiner, kubeadm_init, kubeadm_join

STAND_INS = {
    # Writes down how it was called; makes and removes the files that the real one does.
    "kubeadm": """#!/bin/sh
echo "kubeadm $*" >>"$ROOT/calls"
case $1 in
init | join)
  [ "$2" = phase ] && { echo noise; echo KEY; exit 0; }
  mkdir -p "$ROOT/etc/kubernetes/manifests" "$ROOT/var/lib/etcd/member"
  : >"$ROOT/etc/kubernetes/admin.conf"
  [ ! -e "$ROOT/kill" ] || { rm "$ROOT/kill"; kill -9 $PPID; exit 1; }
  [ ! -e "$ROOT/fail" ] || exit 3
  if [ -e "$ROOT/slow" ]; then
    : >"$ROOT/etc/kubernetes/manifests/etcd.yaml"; : >"$ROOT/api"
    for i in 1 2 3 4 5 6 7 8 9 10; do grep -q systemctl "$ROOT/calls" || sleep 1; done
    grep -q systemctl "$ROOT/calls" || exit 4
  fi
  : >"$ROOT/etc/kubernetes/kubelet.conf"; : >"$ROOT/etc/kubernetes/manifests/kube-apiserver.yaml"
  : >"$ROOT/api"; echo node/n >>"$ROOT/nodes" ;;
reset) rm -rf "$ROOT/etc/kubernetes" "$ROOT/var/lib/etcd/member" "$ROOT/api" ;;
token)
  [ ! -e "$ROOT/hiccup" ] || { rm "$ROOT/hiccup"; exit 1; }
  echo abcdef.0123456789abcdef ;;
esac
""",
    "kubectl": """#!/bin/sh
[ -e "$ROOT/api" ] || exit 1
case "$*" in
*'get nodes -o name') cat "$ROOT/nodes" ;;
*'get node '*) grep -qx "node/${*##* }" "$ROOT/nodes" ;;
*kubeadm-config*) [ -e "$ROOT/complete" ] ;;
*label* | *taint*) echo "kubectl $*" >>"$ROOT/calls" ;;
esac
""",
    "ctr": """#!/bin/sh
case "$*" in
*'tasks ls') echo 'e1 4711 RUNNING' ;;
*'containers ls -q labels.'*etcd) echo e1 ;;
*'tasks exec --exec-id '*' e1 etcdctl '*' member list')
  cat "$ROOT/members"
  [ ! -e "$ROOT/members.next" ] || mv "$ROOT/members.next" "$ROOT/members" ;;
*'tasks exec --exec-id '*' e1 etcdctl '*' member remove '*)
  [ ! -e "$ROOT/refused" ] || exit 1
  echo "removed ${*##* }" >>"$ROOT/calls" ;;
esac
""",
    "systemctl": """#!/bin/sh
echo "systemctl $*" >>"$ROOT/calls"
""",
    "openssl": """#!/bin/sh
[ "$1" = s_client ] || exec /usr/bin/openssl "$@"
[ -e "$ROOT/taken" ]
""",
    # Says that kubeadm runs, once, where the test wants it.
    "pgrep": """#!/bin/sh
[ -e "$ROOT/busy" ] || exit 1
rm "$ROOT/busy"
: >"$ROOT/api"; : >"$ROOT/complete"; echo node/n >"$ROOT/nodes"
mkdir -p "$ROOT/etc/kubernetes" "$ROOT/var/lib/etcd/member"
: >"$ROOT/etc/kubernetes/admin.conf"; : >"$ROOT/etc/kubernetes/kubelet.conf"
""",
}


@dataclass
class Host:
    root: Path

    def touch(self, *paths: str, text: str = "") -> None:
        for path in paths:
            target = self.root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def there(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()

    @property
    def calls(self) -> list[str]:
        """kubeadm's and kubectl's writing calls, paths without the root."""
        calls = self.root / "calls"
        return calls.read_text().replace(str(self.root), "").splitlines() if calls.exists() else []

    @property
    def verbs(self) -> list[str]:
        return [call.split()[1] for call in self.calls if call.startswith("kubeadm")]

    def run(self, text: str, shell: str = "dash") -> subprocess.CompletedProcess[str]:
        for path in ("/etc/kubernetes", "/var/lib/", "/run/mlops"):
            text = text.replace(path, f"{self.root}{path}")
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "ROOT": str(self.root)}
        return subprocess.run(
            [*shell.split(), "-s"], input=f"set -eu\n{text}", capture_output=True, text=True, env=environment,
            timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Host:
    found = Host(tmp_path)
    for name, text in STAND_INS.items():
        found.touch(f"bin/{name}", text=text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "run/mlops-infra").mkdir(parents=True)
    return found


INIT_MARKER, JOIN_MARKER = (
    "/var/lib/mlops-infra/operations/kubeadm-init",
    "/var/lib/mlops-infra/operations/kubeadm-join",
)
INIT_CONFIG, JOIN_CONFIG = "/run/mlops-infra/kubeadm-init.yaml", "/run/mlops-infra/kubeadm-join.yaml"
JOIN_DISCOVERY = "/run/mlops-infra/kubeadm-discovery.yaml"


def init_script() -> str:
    return kubeadm_init("n", "10.0.0.11", "config", endpoint="10.0.0.1", endpoint_port=6443).script({}).text


def join_script(role: str, member: str = "none") -> str:
    document: dict[str, Any] = {"controlPlane": {}}
    joiner = Joiner("n", "10.0.0.12", role, "https://api:6443", document, ("k:NoSchedule",))  # type: ignore[arg-type]
    minted = {"token": "t", "ca": "Q0E=", "certificate_key": "c", "member": member}
    return kubeadm_join(joiner, seed="m", kubernetes="1.31.4").script({k: Secret(v) for k, v in minted.items()}).text


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh"])
def test_a_bare_host_becomes_the_first_master_and_leaves_nothing_behind(host: Host, shell: str) -> None:
    host.touch(INIT_CONFIG)
    done = host.run(init_script(), shell)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.verbs == ["config", "init"]
    assert not host.there(INIT_MARKER)
    assert not host.there(INIT_CONFIG)
    assert any("--skip-token-print" in call for call in host.calls)


def test_an_init_that_fails_is_known_as_begun(host: Host) -> None:
    host.touch("fail")
    assert host.run(init_script()).returncode == 3
    assert host.there(INIT_MARKER)


def test_an_init_that_was_killed_is_undone_and_repeated(host: Host) -> None:
    host.touch("kill")
    assert host.run(init_script()).returncode == -9
    assert host.there(INIT_MARKER)
    done = host.run(init_script())
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.verbs == ["config", "init", "reset", "config", "init"]
    assert not host.there(INIT_MARKER)


def test_an_init_that_had_finished_is_not_undone(host: Host) -> None:
    host.touch(INIT_MARKER, "/etc/kubernetes/admin.conf", "/var/lib/etcd/member/x", "api", "complete")
    host.touch("nodes", text="node/n\n")
    assert host.run(init_script()).returncode == 0
    assert host.verbs == []
    assert not host.there(INIT_MARKER)


def test_an_unfinished_cluster_that_others_have_joined_is_not_undone(host: Host) -> None:
    host.touch(INIT_MARKER, "/etc/kubernetes/admin.conf", "/var/lib/etcd/member/x", "api")
    host.touch("nodes", text="node/n\nnode/other\n")
    done = host.run(init_script())
    assert done.returncode == 1
    assert "other nodes have joined" in done.stdout
    assert host.verbs == []
    assert host.there("/var/lib/etcd/member/x")


def test_a_second_cluster_behind_the_same_endpoint_is_refused(host: Host) -> None:
    host.touch("taken")
    done = host.run(init_script())
    assert done.returncode == 1
    assert "second cluster" in done.stdout
    assert host.verbs == []


@pytest.mark.parametrize("script", ["init", "master", "worker"])
def test_what_an_earlier_run_is_still_doing_is_waited_for_and_not_done_twice(host: Host, script: str) -> None:
    host.touch("busy")
    done = host.run(init_script() if script == "init" else join_script(script))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "had finished" in done.stdout
    assert host.verbs == []


@pytest.mark.parametrize("role", ["master", "worker"])
@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh"])
def test_a_bare_host_joins_and_its_token_is_gone(host: Host, role: str, shell: str) -> None:
    host.touch(JOIN_CONFIG, JOIN_DISCOVERY)
    done = host.run(join_script(role), shell)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.verbs == ["config", "join"]
    assert not host.there(JOIN_MARKER)
    assert not host.there(JOIN_CONFIG)
    assert not host.there(JOIN_DISCOVERY)


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh"])
def test_a_kubelet_begins_anew_when_its_own_api_server_is_ready(host: Host, shell: str) -> None:
    """It has asked in vain until then, less and less often: seconds of a join, and ten until the node was Ready."""
    host.touch("slow")
    done = host.run(join_script("master"), shell)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.calls.count("systemctl restart kubelet") == 1


def test_a_master_whose_join_fails_before_it_serves_says_so(host: Host) -> None:
    host.touch("fail")
    assert host.run(join_script("master")).returncode == 3
    assert host.there(JOIN_MARKER)
    assert "systemctl restart kubelet" not in host.calls


def test_a_join_that_fails_removes_its_token_all_the_same(host: Host) -> None:
    host.touch(JOIN_CONFIG, "fail")
    assert host.run(join_script("worker")).returncode == 3
    assert host.there(JOIN_MARKER)
    assert not host.there(JOIN_CONFIG)


@pytest.mark.parametrize("role", ["master", "worker"])
def test_a_join_that_the_cluster_does_not_count_on_is_undone_and_repeated(host: Host, role: str) -> None:
    host.touch("kill")
    assert host.run(join_script(role)).returncode == -9
    done = host.run(join_script(role))
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.verbs == ["config", "join", "reset", "config", "join"]
    skipped = any("--skip-phases remove-etcd-member" in call for call in host.calls)
    assert skipped == (role == "master")


def test_what_never_answers_is_waited_for_by_the_clock(host: Host) -> None:
    text = join_script("worker").replace("get node n ", "get node gone ")
    assert " + 240))" in text
    done = host.run(text.replace(" + 240))", " + 1))"))
    assert done.returncode == 1
    assert "n has joined but does not answer as ready" in done.stdout
    assert host.there(JOIN_MARKER)


def test_a_worker_that_had_joined_is_left_as_it_is(host: Host) -> None:
    host.touch(JOIN_MARKER, "/etc/kubernetes/kubelet.conf", "api")
    host.touch("nodes", text="node/n\n")
    assert host.run(join_script("worker")).returncode == 0
    assert host.verbs == []
    assert not host.there(JOIN_MARKER)


def test_a_master_that_votes_in_etcd_is_finished_and_never_reset(host: Host) -> None:
    manifests = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/manifests/etcd.yaml"
    host.touch(JOIN_MARKER, *manifests, "/var/lib/etcd/member/x", "api")
    host.touch("nodes", text="node/n\n")
    done = host.run(join_script("master", "voter"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.verbs == []
    assert any("label node n" in call for call in host.calls)
    assert any("taint node n --overwrite k:NoSchedule" in call for call in host.calls)
    assert not host.there(JOIN_MARKER)


@pytest.mark.parametrize("member", ["voter", "learner", "unknown"])
def test_a_half_joined_master_that_etcd_knows_is_left_to_people(host: Host, member: str) -> None:
    host.touch(JOIN_MARKER, "/var/lib/etcd/member/x")
    done = host.run(join_script("master", member))
    assert done.returncode == 1
    assert host.verbs == []
    assert host.there("/var/lib/etcd/member/x")
    assert host.there(JOIN_MARKER)


FIRST = "8e9e05c52164694d, started, m, https://10.0.0.11:2380, https://10.0.0.11:2379, false\n"


@pytest.mark.parametrize(
    ("members", "word"),
    [
        (FIRST, "none"),
        (FIRST + "1, started, n, https://10.0.0.12:2380, https://10.0.0.12:2379, false\n", "voter"),
        (FIRST + "1, unstarted, , https://10.0.0.12:2380, , false\n", "learner"),
        ("", "unknown"),
    ],
)
def test_what_a_join_needs_is_minted_with_etcds_word_on_the_member(host: Host, members: str, word: str) -> None:
    host.touch("members", text=members)
    said = minted(host, patience=1)
    assert set(said) == {"token", "ca", "certificate_key", "member"}
    assert said["token"] == "abcdef.0123456789abcdef"
    assert base64.b64decode(said["ca"]) == (host.root / "etc/kubernetes/pki/ca.crt").read_bytes()
    assert said["member"] == word


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("how", ["started, n", "unstarted, "])
def test_a_learner_that_nobody_joins_as_is_removed(host: Host, how: str, *, refused: bool) -> None:
    """A master that lost its power in the middle of its join: without a vote, so that no quorum stands on it."""
    host.touch("members", text=FIRST + f"a1, {how}, https://10.0.0.12:2380, , true\n")
    if refused:
        host.touch("refused")
    assert minted(host)["member"] == ("learner" if refused else "none")
    assert [c for c in host.calls if c.startswith("removed")] == ([] if refused else ["removed a1"])


def test_a_moment_without_an_api_is_no_refusal(host: Host) -> None:
    host.touch("members", text=FIRST)
    host.touch("hiccup")
    assert minted(host)["token"] == "abcdef.0123456789abcdef"
    assert host.verbs.count("token") == 2


@pytest.mark.parametrize(
    "joining", ["2, started, o, https://10.0.0.13:2380, , true", "2, unstarted, , https://10.0.0.13:2380, , false"]
)
def test_another_master_that_still_joins_is_waited_for(host: Host, joining: str) -> None:
    """Two learners at once are one too many for etcd: a join that outlived its run met that of the next master."""
    host.touch("members", text=f"{FIRST}{joining}\n")
    host.touch("members.next", text=f"{FIRST}2, started, o, https://10.0.0.13:2380, , false\n")
    assert minted(host)["member"] == "none"
    assert not host.there("members.next")


def test_a_key_that_an_earlier_run_is_still_making_comes_first(host: Host) -> None:
    """The newest is the only one that opens the certificates in the cluster: it must be the one that is handed out."""
    host.touch("members", text=FIRST)
    lock, end = host.root / "run/mlops-infra/mint.lock", host.root / "ended"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        ["flock", lock, "sh", "-c", 'echo held; sleep 1; : >"$0"', end], stdout=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == b"held\n"
        minted(host)
        assert end.exists()


def minted(host: Host, patience: int = 60) -> dict[str, str]:
    """What the seed says to a master that joins, with a key as short as the stand-in's."""
    host.touch("/etc/kubernetes/admin.conf", "/etc/kubernetes/manifests/etcd.yaml", "/etc/kubernetes/pki/x", "api")
    key, ca = host.root / "ca.key", host.root / "etc/kubernetes/pki/ca.crt"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*make, "-keyout", key, "-out", ca, "-subj", "/CN=ca"], check=True, capture_output=True)
    joiner = Joiner("n", "10.0.0.12", "master", "https://api:6443", {"controlPlane": {}})
    (wanted,) = kubeadm_join(joiner, seed="m", kubernetes="1.31.4").inputs
    assert " + 60))" in wanted.script
    script = wanted.script.replace('"${#key}" = 64', '"$key" = KEY').replace(" + 60))", f" + {patience}))")
    done = host.run(script)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())
