"""The user's own rules are read by the running Prometheus before they take the place of the old ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_infra.core import Facts, Shell
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import MonitoringInputs, PhaseContext
from mlops_infra.phases.monitoring import monitoring_phase

KUBECTL = """\
#!/bin/sh
case "$*" in
*"get pods"*) [ ! -e {home}/none ] && echo pod/prometheus-0 ;;
*exec*)
  n={home}/seen/$(ls {home}/seen | wc -l); cat >$n
  if grep -q nonsense $n; then echo "line 1: no"; exit 1; fi ;;
esac
exit 0
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "seen").mkdir()
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.write_text(KUBECTL.format(home=tmp_path))
    kubectl.chmod(0o755)
    return tmp_path


def check_of(cluster: Cluster, context: PhaseContext, rules: dict[str, str]) -> Shell | None:
    given = replace(context, monitoring=MonitoringInputs(rules=rules))
    (step,) = monitoring_phase(cluster, given).steps
    change = step.resources[0].diff(Facts())
    assert change is not None
    found = [a for a in change.actions if isinstance(a, Shell) and "your rules" in a.title]
    return found[0] if found else None


def run(check: Shell, home: Path, shell: str) -> subprocess.CompletedProcess[bytes]:
    env = {"PATH": f"{home / 'bin'}:/usr/bin:/bin"}
    return subprocess.run(
        [shell, "-euc", check.script], input=check.stdin, capture_output=True, env=env, check=False
    )  # fmt: skip


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_every_file_is_read_whole_and_a_bad_one_ends_the_run(
    make: Callable[..., Cluster], context: PhaseContext, home: Path, shell: str
) -> None:
    good = "groups: []\n# ä, and no end of line"
    check = check_of(make(), context, {"good.yaml": good, "bad.yaml": "nonsense\n", "last.yaml": "groups: []\n"})
    assert check is not None
    done = run(check, home, shell)
    assert done.returncode == 1
    assert b"bad.yaml: line 1: no" in done.stdout
    assert b"good.yaml" not in done.stdout
    assert sorted(p.read_text() for p in (home / "seen").iterdir()) == sorted([good, "nonsense\n", "groups: []\n"])


def test_good_rules_and_a_platform_without_prometheus_go_on(
    make: Callable[..., Cluster], context: PhaseContext, home: Path
) -> None:
    check = check_of(make(), context, {"good.yaml": "groups: []\n"})
    assert check is not None
    assert run(check, home, "dash").returncode == 0
    (home / "none").touch()
    bad = check_of(make(), context, {"bad.yaml": "nonsense\n"})
    assert bad is not None
    assert run(bad, home, "dash").returncode == 0


def test_without_own_rules_nobody_is_asked(make: Callable[..., Cluster], context: PhaseContext) -> None:
    assert check_of(make(), context, {}) is None
