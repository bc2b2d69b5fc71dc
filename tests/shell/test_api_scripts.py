"""Generated scripts that wait for workloads, make namespaces and take objects away, against a stand-in for kubectl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.core import Facts, Shell
from mlops_infra.resources.api_inventory import Inventory, Owned
from mlops_infra.resources.api_namespaces import Namespaces
from mlops_infra.resources.api_ready import ApiReady

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
KUBECTL = """\
#!/bin/sh
# Stand-in: answers from files, and notes what it was asked to delete.
here=$(dirname "$0")
case "$*" in
*" get namespace "*) name=${*#*get namespace }; name=${name%% *}
  ! grep -q "^$name=" "$here/namespaces" || grep "^$name=" "$here/namespaces" | tr -d '\\n' ;;
*" apply "*) cat >> "$here/applied" ;;
*" get Deployment "*) n=$(($(cat "$here/turn") + 1)); echo "$n" > "$here/turn"
  sed -n "${n}p;\\$p" "$here/states" | head -n 1 ;;
*" get nodes "*) echo 'w-1 NotReady' ;;
*" get pods "*go-template*) echo 'c-1 on w-1: main is not ready, 3 restarts: CrashLoopBackOff: back-off' ;;
*" get pods "*) echo 'c-1 0/1 CrashLoopBackOff 3 1m' ;;
*" logs "*) echo 'panic: no such file' ;;
*" get events "*) echo 'event: BackOff: restarting failed container' ;;
*" delete "*) cat >> "$here/deleted" ;;
*" get -f "*) doc=$(cat); name=$(printf '%s' "$doc" | sed 's/.*"name": "\\([^"]*\\)".*/\\1/')
  [ ! -e "$here/object-$name" ] || cat "$here/object-$name" ;;
esac
"""
WORKLOAD = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "c", "namespace": "n"},
    "spec": {"selector": {"matchLabels": {"app": "c"}}},
}


def run(tmp_path: Path, shell: str, action: Any) -> subprocess.CompletedProcess[str]:
    assert isinstance(action, Shell)
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    (tmp_path / "turn").write_text("0\n")
    return subprocess.run(
        [*(["busybox", "sh"] if shell == "busybox" else [shell]), "-euc", action.script],
        input=action.stdin.decode(),
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def wait(deadline: int) -> Any:
    change = ApiReady("Thing", (WORKLOAD,), deadline=deadline).diff(Facts())
    assert change is not None
    return change.actions[0]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_roll_out_is_waited_for_until_the_earlier_version_is_gone(tmp_path: Path, shell: str) -> None:
    # generation, observed, wanted, updated, available, all
    (tmp_path / "states").write_text("2 1 2 0 2 2\n2 2 2 1 2 3\n2 2 2 2 2 3\n2 2 2 2 2 2\n")
    done = run(tmp_path, shell, wait(20))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "turn").read_text() == "4\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_when_the_time_is_over_the_reason_is_what_a_person_would_look_for(tmp_path: Path, shell: str) -> None:
    (tmp_path / "states").write_text("1 1 2 2 0 2\n")
    done = run(tmp_path, shell, wait(1))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "not ready after 1 s: c: 0 of 2 available",
        "c-1 on w-1: main is not ready, 3 restarts: CrashLoopBackOff: back-off",
        "log of c-1:",
        "panic: no such file",
        "event: BackOff: restarting failed container",
    ]


@pytest.mark.parametrize("shell", SHELLS)
def test_only_what_carries_our_mark_is_taken_away(tmp_path: Path, shell: str) -> None:
    ours = {"metadata": {"name": "ours", "managedFields": [{"manager": "mlops-infra"}]}}
    other = {"metadata": {"name": "other", "managedFields": [{"manager": "kubectl"}]}}
    for one in (ours, other):
        (tmp_path / f"object-{one['metadata']['name']}").write_text(json.dumps(one, indent=4))
    gone = tuple(Owned("v1", "ConfigMap", "n", name) for name in ("ours", "other", "vanished"))
    done = run(tmp_path, shell, Inventory("shop", ()).remove(gone, "/etc/kubernetes/admin.conf", 5))
    assert done.returncode == 0, done.stderr
    (deleted,) = (tmp_path / "deleted").read_text().splitlines()
    assert json.loads(deleted)["metadata"] == {"name": "ours", "namespace": "n"}
    assert "left alone, it is not ours" in done.stdout and "other" in done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_namespace_is_held_to_the_level_only_where_it_is_ours_when_it_comes_to_it(tmp_path: Path, shell: str) -> None:
    """Nothing was known when the plan was made: the master is asked which of them are there, and who made them."""
    (tmp_path / "namespaces").write_text("default=mlops-infra\nshop=\nmine=mlops-infra\ntheirs=Helm\n")
    change = Namespaces("them", ("default", "shop", "mine", "theirs", "new"), "baseline").diff(Facts())
    assert change is not None
    done = run(tmp_path, shell, change.actions[0])
    assert done.returncode == 0, done.stderr
    labels = {m["name"]: m["labels"] for m in (json.loads(x)["metadata"] for x in _lines(tmp_path / "applied"))}
    warned = {"pod-security.kubernetes.io/warn": "baseline"}
    held = {**warned, "pod-security.kubernetes.io/enforce": "baseline", "app.kubernetes.io/managed-by": "mlops-infra"}
    assert labels == {"default": warned, "shop": warned, "mine": held, "theirs": warned, "new": held}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
