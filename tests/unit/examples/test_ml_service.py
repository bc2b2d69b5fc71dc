"""The example service: its own tests, its rules, and that its manifests are what the README says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mlops_infra.render import parse_documents

HOME = Path(__file__).resolve().parents[3] / "examples" / "ml-service"


def run(*command: str | Path, cwd: Path = HOME, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env}
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def documents(name: str) -> list[dict[str, Any]]:
    return parse_documents((HOME / "deploy" / name).read_text())


def test_the_service_passes_its_own_tests() -> None:
    done = run(sys.executable, "-m", "unittest", cwd=HOME / "app")
    assert done.returncode == 0, done.stderr
    assert "Ran 8 tests" in done.stderr


def test_training_again_changes_nothing(tmp_path: Path) -> None:
    for name in ("train.py", "model.json", "golden.json"):
        shutil.copy(HOME / "app" / name, tmp_path)
    assert run(sys.executable, "train.py", cwd=tmp_path).returncode == 0
    assert (tmp_path / "golden.json").read_text() == (HOME / "app" / "golden.json").read_text()


def test_its_alert_rules_fire_and_do_not() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool on this machine")
    done = run("promtool", "test", "rules", "ml-service.rules.test.yaml", cwd=HOME / "alerts")
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_file_comes_out_of_the_build_and_the_code_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on this machine")
    done = run("ci/build.sh", tmp_path / "out.yaml", VALIDATE="no", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    made = parse_documents((tmp_path / "out.yaml").read_text())
    kinds = [one["kind"] for one in made]
    assert sorted(kinds) == [
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "PodDisruptionBudget", "Service", "Service",
    ]  # fmt: skip
    (code,) = [one for one in made if one["kind"] == "ConfigMap"]
    (deployment,) = [one for one in made if one["kind"] == "Deployment"]
    assert code["metadata"]["name"].startswith("ml-service-")
    assert deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] == code["metadata"]["name"]
    assert code["data"]["service.py"] == (HOME / "app/service.py").read_text()


def test_pods_have_no_rights_no_root_and_are_found_by_prometheus() -> None:
    (deployment,) = documents("deployment.yaml")
    template = deployment["spec"]["template"]
    pod, (container,) = template["spec"], template["spec"]["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == str(container["ports"][0]["containerPort"])
    # Prometheus' label `app`, by which dashboards and alerts know it.
    assert template["metadata"]["labels"]["app.kubernetes.io/name"] == "ml-service"
    assert "replicas" not in deployment["spec"], "the autoscaler says how many"


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_a_pipeline_calls_scripts_that_are_there(name: str) -> None:
    text = (HOME / "ci" / name).read_text()
    YAML(typ="safe").load(text)
    called = {word.split("/")[-1] for word in text.replace("[", " ").replace("]", " ").split() if word.endswith(".sh")}
    assert {"test.sh", "build.sh", "deploy.sh"} <= called
    for script in called:
        assert os.access(HOME / "ci" / script, os.X_OK), script


# --- deploy and roll back, over a kubectl that answers as told ------------------------------------------------------

KUBECTL = """\
#!/bin/sh
# Stand-in: notes what it is asked, and answers what the test says.
echo "$*" >>@LOG@
case "$*" in
*'config view'*) echo shop ;;
*'rollout status'*) [ ! -e @BASE@/stuck ] || { rm @BASE@/stuck; exit 1; } ;;
*'get deployment'*) cat @BASE@/revision ;;
*'get replicasets'*) echo 'ml-service-aaa ml-service-bbb' ;;
*'get configmaps'*) echo 'ml-service-aaa ml-service-bbb ml-service-old' ;;
esac
"""


@pytest.fixture
def deploy(tmp_path: Path) -> Callable[..., tuple[int, list[str]]]:
    """Runs deploy.sh against a service that this machine runs; answers the exit code and what kubectl was asked."""
    tools, log = tmp_path / "bin", tmp_path / "log"
    tools.mkdir()
    (tools / "kubectl").write_text(KUBECTL.replace("@LOG@", str(log)).replace("@BASE@", str(tmp_path)))
    (tools / "kubectl").chmod(0o755)
    (tmp_path / "revision").write_text("3")
    (tmp_path / "out.yaml").write_text("---\n")

    def go(*, stuck: bool = False) -> tuple[int, list[str]]:
        if stuck:
            (tmp_path / "stuck").touch()
        server = subprocess.Popen(
            [sys.executable, "-u", HOME / "app/service.py"], env={**os.environ, "PORT": "0", "GRACE": "0"},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdout is not None
        try:
            port = server.stdout.readline().split('"port": ')[1].split("}")[0]
            path = f"{tools}:{os.environ['PATH']}"
            done = run("ci/deploy.sh", tmp_path / "out.yaml", PATH=path, URL=f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(10)
            server.stdout.close()
        return done.returncode, log.read_text().splitlines()

    return go


def test_what_is_deployed_is_waited_for_checked_and_tidied_up_after(
    deploy: Callable[..., tuple[int, list[str]]],
) -> None:
    code, asked = deploy()
    assert code == 0, asked
    assert asked.index(next(a for a in asked if " apply -f" in a)) < asked.index(
        next(a for a in asked if "rollout status" in a)
    )
    assert [a for a in asked if "delete configmap" in a] == ["-n shop delete configmap ml-service-old"]
    assert not any("undo" in a for a in asked)


def test_a_former_version_that_still_answers_for_a_moment_is_no_failure_and_a_wrong_one_is(tmp_path: Path) -> None:
    """A check asks again until the time is over; then it says what was wrong."""
    shutil.copytree(HOME / "app", tmp_path / "app")
    model = json.loads((tmp_path / "app/model.json").read_text())
    model["weights"][0] += 50
    (tmp_path / "app/model.json").write_text(json.dumps(model))
    server = subprocess.Popen(
        [sys.executable, "-B", "-u", tmp_path / "app/service.py"], env={**os.environ, "PORT": "0", "GRACE": "0"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        port = server.stdout.readline().split('"port": ')[1].split("}")[0]
        done = run("ci/check.sh", URL=f"http://127.0.0.1:{port}", NAMESPACE="shop", PATIENCE="0.1")
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()
    assert done.returncode == 1
    assert "wrong:" in done.stderr


def test_what_does_not_come_up_is_taken_back_to_the_revision_before(
    deploy: Callable[..., tuple[int, list[str]]],
) -> None:
    code, asked = deploy(stuck=True)
    assert code == 1
    assert any("rollout undo deployment/ml-service --to-revision=3" in a for a in asked)
    assert not any("delete" in a for a in asked)
