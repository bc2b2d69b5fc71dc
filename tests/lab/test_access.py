"""Access for people on a real platform: what each role may do, what ends it, and a pipeline that deploys under it.

The tests of this module are chapters: each takes the platform as the one before left it.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from platform_lab import INSTANCE, PlatformLab, wait_for

from mlops_infra.render import parse_documents, to_yaml

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500), pytest.mark.long]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ml-service"
LB = "http://10.110.190.21"


def inside(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A command on the lab's network, where a person's workstation would be."""
    words = ["ip", "netns", "exec", f"lab{INSTANCE}-net", *(str(word) for word in command)]
    return subprocess.run(words, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=400)


def kubectl(path: Path, words: str) -> subprocess.CompletedProcess[str]:
    return inside("kubectl", "--kubeconfig", path, *words.split())


def given(lab: PlatformLab, name: str, role: str, span: str = "1h") -> Path:
    answer = lab.json("access", "kubeconfig", "--for", name, "--role", role, "--expires", span)
    return Path(answer["kubeconfig"])


@pytest.fixture(scope="module")
def people(platform: PlatformLab) -> Iterator[PlatformLab]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on this machine")
    before = platform.config.read_text()
    after = before.replace("operator_namespaces: [apps]", "operator_namespaces: [ml-service, older]")
    assert after != before
    platform.kubectl("create namespace older")
    platform.config.write_text(after)
    try:
        platform.json("access", "apply", "--yes")
        yield platform
    finally:
        platform.config.write_text(before)
        platform.kubectl("delete namespace ml-service older --ignore-not-found")


class TestRoles:
    def test_a_viewer_sees_everything_but_secrets_and_changes_nothing(self, people: PlatformLab) -> None:
        path = given(people, "ada", "viewer")
        assert path.stat().st_mode & 0o777 == 0o600
        for words in ("get nodes", "get pods -A", "get ipaddresspools -A"):
            done = kubectl(path, words)
            assert done.returncode == 0, (words, done.stderr)
        for words in ("get secrets -A", "delete pod x -n default", "create namespace mine"):
            assert "forbidden" in kubectl(path, words).stderr.lower(), words
        assert kubectl(path, "auth can-i create pods/exec -n kube-system").stdout.strip() == "no"

    def test_an_operator_deploys_where_he_may_and_nowhere_else(self, people: PlatformLab) -> None:
        path = given(people, "grace", "operator")
        create = "create deployment x --image=x --dry-run=server"
        assert kubectl(path, create).returncode == 0, "the kubeconfig names the namespace"
        for words in (f"{create} -n kube-system", f"{create} -n default", "get secrets -n kube-system"):
            assert "forbidden" in kubectl(path, words).stderr, words

    def test_a_namespace_that_we_made_refuses_what_one_that_was_there_only_warns_of(self, people: PlatformLab) -> None:
        path, root = given(people, "grace", "operator"), "run p --image=x --privileged --dry-run=server"
        refused = kubectl(path, root)
        assert refused.returncode != 0 and "violates PodSecurity" in refused.stderr
        warned = kubectl(path, f"{root} -n older")
        assert warned.returncode == 0 and "would violate PodSecurity" in warned.stderr, warned.stderr
        assert people.json("access", "kubeconfig", "--for", "grace", "--role", "operator")["open"] == ["older"]
        left = {step["phase"] for step in people.json("plan", rc=2)["steps"]}
        assert left == {"record"}, "the file was changed, and all of it that is ours is so"

    def test_what_a_namespaces_owner_enforces_stays_and_what_we_enforce_is_mended(self, people: PlatformLab) -> None:
        level = "pod-security.kubernetes.io/enforce"
        for name in ("ml-service", "older"):
            people.kubectl(f"label --overwrite namespace {name} {level}=privileged")
        people.json("access", "apply", "--yes")
        labels = [people.kubectl(f"get namespace {name} --show-labels") for name in ("ml-service", "older")]
        assert f"{level}=baseline" in labels[0] and f"{level}=privileged" in labels[1]

    def test_what_was_taken_back_is_refused_at_once(self, people: PlatformLab) -> None:
        path = given(people, "mallory", "operator")
        assert kubectl(path, "get nodes").returncode == 0
        told = people.json("access", "revoke", "mallory", "--yes")
        assert told["rights_left"] == []
        assert len(told["certificates_still_valid"]) == 1
        wait_for(lambda: "forbidden" in kubectl(path, "get nodes").stderr, 10)
        assert "forbidden" in kubectl(path, "get pods").stderr
        assert "mallory" not in {g["name"] for g in people.json("access", "list")["grants"]}

    def test_an_expired_certificate_is_refused_while_its_bindings_are_there(self, people: PlatformLab) -> None:
        """Nobody waits ten minutes for it (the shortest that Kubernetes signs): the test signs it itself."""
        path = given(people, "eve", "viewer")
        assert kubectl(path, "get nodes").returncode == 0
        expired = path.with_name("expired.kubeconfig")
        expired.write_text(to_yaml(_with_expired_certificate(people, path)))
        refused = kubectl(expired, "get nodes").stderr
        assert "Unauthorized" in refused or "must be logged in" in refused, refused
        people.json("access", "revoke", "eve", "--yes")


def _with_expired_certificate(lab: PlatformLab, path: Path) -> dict[str, Any]:
    (config,) = parse_documents(path.read_text())
    user = config["users"][0]["user"]
    valid = x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))
    ca = x509.load_pem_x509_certificate(lab.on("master-1", "cat /etc/kubernetes/pki/ca.crt").encode())
    key: Any = serialization.load_pem_private_key(lab.on("master-1", "cat /etc/kubernetes/pki/ca.key").encode(), None)
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(valid.subject).issuer_name(ca.subject).public_key(valid.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    made = made.not_valid_after(now - timedelta(minutes=1))
    use = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
    signed = made.add_extension(use, critical=False).sign(key, hashes.SHA256())
    pem = signed.public_bytes(serialization.Encoding.PEM)
    user["client-certificate-data"] = base64.b64encode(pem).decode()
    return dict(config)


@pytest.fixture(scope="module")
def pipeline(people: PlatformLab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("pipeline")
    shutil.copytree(EXAMPLE, home / "ml-service", ignore=shutil.ignore_patterns("__pycache__", "build"))
    path = given(people, "ci", "operator")
    where = {"KUBECONFIG": str(path), "URL": LB, "HOST": "ml-service.example.internal"}
    return {**where, "HERE": str(home / "ml-service")}


class TestPipeline:
    """The example's own scripts, under the operator's role."""

    def test_it_tests_builds_deploys_and_checks(self, pipeline: dict[str, str]) -> None:
        for script in ("test.sh", "build.sh", "deploy.sh"):
            done = inside(f"{pipeline['HERE']}/ci/{script}", **pipeline)
            assert done.returncode == 0, done.stdout + done.stderr
        assert "4 predictions as they should be" in done.stdout

    def test_a_model_that_predicts_wrong_is_taken_back(self, pipeline: dict[str, str]) -> None:
        model = Path(pipeline["HERE"], "app/model.json")
        good = model.read_text()
        model.write_text(good.replace("68.955889605", "99.0").replace('"version": "1"', '"version": "2"'))
        assert model.read_text() != good
        try:
            assert inside(f"{pipeline['HERE']}/ci/build.sh", **pipeline).returncode == 0
            done = inside(f"{pipeline['HERE']}/ci/deploy.sh", **pipeline)
        finally:
            model.write_text(good)
        assert done.returncode == 1
        assert "rolling back" in done.stdout
        again = inside(f"{pipeline['HERE']}/ci/check.sh", **pipeline)
        assert again.returncode == 0, again.stdout + again.stderr
