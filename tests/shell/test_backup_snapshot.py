"""The snapshot script on a temporary root, with stand-ins for containerd and etcd: what it proves, what it leaves."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from sandbox import SHELLS

from mlops_infra.operations.etcd_snapshot import SNAPSHOT_COMMAND, SnapshotReader, snapshot_payload

DATABASE = b"".join(hashlib.sha256(bytes([i])).digest() * 16 for i in range(64))
SNAPSHOT = DATABASE + hashlib.sha256(DATABASE).digest()
KEYS = "".join(f"/registry/pods/{i}\n\n" for i in range(7))

# Answers as ctr does for one etcd container; the trial's container is a file in $ROOT/containers.
CTR = """#!/bin/sh
shift 2
case "$1 $2" in
'tasks ls') echo 'TASK PID STATUS'; echo 'abc 7 RUNNING' ;;
'containers ls')
  case $3 in
  -q) case ${4-} in label*) echo abc ;; *) ls "$ROOT/containers" 2>/dev/null; : ;; esac ;;
  *) echo 'CONTAINER IMAGE RUNTIME'; echo 'abc registry.k8s.io/etcd:3.5.15-0 runc' ;;
  esac ;;
'tasks exec')
  into=$5; shift 5
  case "$*" in
  *'snapshot save'*) for last; do :; done; cp "$ROOT/snapshot" "$last" ;;
  'etcd --version') echo 'etcd Version: 3.5.15' ;;
  *get*) if [ "$into" = abc ]; then cat "$ROOT/live"; else cat "$ROOT/restored"; fi ;;
  esac ;;
'run --rm')
  case "$*" in
  *'snapshot status'*) echo '{"hash":17,"revision":812,"totalKey":900,"totalSize":1}' ;;
  *'snapshot restore'*) [ ! -e "$ROOT/no-restore" ] || { echo 'expected sha256 [..], got [..]' >&2; exit 1; } ;;
  esac ;;
'run -d') mkdir -p "$ROOT/containers"; : >"$ROOT/containers/mlops-infra-trial-1"; [ ! -e "$ROOT/slow" ] || sleep 20 ;;
'containers delete') rm -f "$ROOT/containers/$3" ;;
esac
"""
SILENT = "#!/bin/sh\nexit 1\n"


@dataclass
class Host:
    root: Path
    shell: str = "dash"

    def put(self, path: str, content: bytes | str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    def start(self) -> subprocess.Popen[bytes]:
        payload = snapshot_payload(
            node="m1", address="10.0.0.1", cluster="demo", tool="test", files={"cluster/cluster.yaml": b"name: demo\n"}
        )
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "ROOT": str(self.root)}
        command = self._moved(SNAPSHOT_COMMAND).replace("exec sh ", f"exec {self.shell} ")
        process = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        assert process.stdin is not None
        process.stdin.write(self._moved_payload(payload))
        process.stdin.close()
        process.stdin = None
        return process

    def run(self) -> tuple[int, bytes]:
        out, _ = self.start().communicate(timeout=60)
        return 0, out

    def _moved(self, text: str) -> str:
        for path in ("/etc/kubernetes", "/etc/containerd", "/var/lib/", "/run/mlops"):
            text = text.replace(path, f"{self.root}{path}")
        return text

    def _moved_payload(self, payload: bytes) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(payload)) as old, tarfile.open(fileobj=out, mode="w") as new:
            for entry in old:
                source = old.extractfile(entry)
                assert source is not None
                content = source.read()
                if entry.name == "run.sh":
                    content = self._moved(content.decode()).encode()
                entry.size = len(content)
                new.addfile(entry, io.BytesIO(content))
        return out.getvalue()

    @property
    def left(self) -> list[str]:
        return sorted(
            str(p.relative_to(self.root))
            for where in ("var/lib/mlops-infra", "var/lib/etcd", "containers")
            for p in (self.root / where).rglob("*")
            if p.is_file() and p.name != "db"
        )


@pytest.fixture(params=[s for s in SHELLS if s != "busybox"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    made = Host(tmp_path, request.param)
    made.put("/etc/kubernetes/manifests/etcd.yaml", f"    - --data-dir={tmp_path}/var/lib/etcd\n")
    made.put("/etc/kubernetes/manifests/kube-apiserver.yaml", f"    - --audit-policy-file={tmp_path}/srv/audit.yaml\n")
    made.put("/srv/audit.yaml", "kind: Policy\n")
    made.put("/etc/kubernetes/pki/ca.crt", "the CA")
    made.put("/etc/kubernetes/pki/ca.key", "its key")
    made.put("/etc/kubernetes/tmp/old", "kubeadm's own backup")
    made.put('/etc/kubernetes/pki/odd "name".crt', "x")
    made.put("/etc/containerd/config.toml", "version = 2\n")
    made.put("/var/lib/etcd/member/snap/db", DATABASE)
    made.put("/snapshot", SNAPSHOT)
    made.put("/live", KEYS)
    made.put("/restored", KEYS)
    for name, text in (("ctr", CTR), ("kubectl", SILENT), ("kubelet", '#!/bin/sh\necho "Kubernetes v1.31.4"\n')):
        made.put(f"/bin/{name}", text)
        (tmp_path / "bin" / name).chmod(0o755)
    return made


def read(out: bytes) -> tuple[list[str], bytes]:
    steps: list[str] = []
    tar = bytearray()
    reader = SnapshotReader("m1", steps.append, tar.extend)
    for start in range(0, len(out), 1000):
        reader.give(out[start : start + 1000])
    return steps, bytes(tar)


def test_it_sends_a_proved_snapshot_with_a_manifest_of_every_file(host: Host) -> None:
    steps, sent = read(host.run()[1])
    assert steps == ["snapshot", "check", "restore", "files", "fetch"]
    with tarfile.open(fileobj=io.BytesIO(sent)) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}  # type: ignore[union-attr]
        assert tar.getnames()[0] == "manifest.json"
    manifest = json.loads(files.pop("manifest.json"))
    listed = {f["path"]: f["sha256"] for f in manifest["files"]}
    assert listed == {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    assert files["etcd/snapshot.db"] == SNAPSHOT
    assert manifest["cluster"] == {"name": "demo", "ca_sha256": hashlib.sha256(b"the CA").hexdigest()}
    assert (manifest["etcd"]["live_keys"], manifest["etcd"]["revision"]) == (7, 812)
    assert manifest["api"] is False
    names = {path.replace(str(host.root), "") for path in files}
    assert "cluster/cluster.yaml" in names
    assert any(n.endswith("/etc/kubernetes/pki/ca.key") for n in names)
    assert any(n.endswith("/srv/audit.yaml") for n in names), "what the API server reads from elsewhere"
    assert not any("/tmp/old" in n or '"' in n for n in names)
    assert host.left == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"/snapshot": SNAPSHOT[:5000] + b"!" + SNAPSHOT[5001:]}, "bad-snapshot its sha256"),
        ({"/snapshot": SNAPSHOT[:-4096]}, "bad-snapshot"),
        ({"/snapshot": DATABASE}, "bad-snapshot its size"),
        (
            {"/restored": KEYS.replace("/registry/pods/3\n\n", "")},
            "differs the live cluster has 7 keys at revision 812",
        ),
        ({"/restored": KEYS.replace("pods/3", "pods/x")}, "differs the live and the restored cluster have 7 keys each"),
        ({"/no-restore": ""}, "bad-restore expected sha256"),
    ],
)
def test_a_snapshot_that_is_not_right_is_thrown_away(host: Host, change: dict[str, bytes | str], said: str) -> None:
    for path, content in change.items():
        host.put(path, content)
    out = host.run()[1]
    assert f"\n! {said}" in out.decode()
    assert b"\n>\n" not in out
    assert host.left == []


def test_a_caller_that_goes_away_is_noticed_and_nothing_stays(host: Host) -> None:
    process = host.start()
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"@ snapshot\n"
    process.stdout.close()
    process.stderr.close()
    process.wait(30)
    assert host.left == []


def test_a_run_that_is_ended_puts_everything_away_and_a_killed_ones_leftovers_go_with_the_next(host: Host) -> None:
    host.put("/slow", "")
    process = host.start()
    deadline = time.monotonic() + 20
    while not (host.root / "containers").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    (host.root / "slow").unlink()
    process.kill()
    process.communicate(timeout=30)
    assert any("trial" in name for name in host.left)
    out = host.run()[1]
    while b"! busy" in out and time.monotonic() < deadline + 20:  # what the killed one had started holds its lock
        time.sleep(0.5)
        out = host.run()[1]
    assert b"\n>\n" in out
    assert host.left == []
    assert -process.returncode == signal.SIGKILL


def test_two_at_once_are_refused(host: Host) -> None:
    (host.root / "run/mlops-infra").mkdir(parents=True)
    lock = host.root / "run/mlops-infra/backup.lock"
    with subprocess.Popen(["flock", "--no-fork", str(lock), "sleep", "30"]) as holder:
        time.sleep(0.3)
        assert b"! busy" in host.run()[1]
        holder.kill()
