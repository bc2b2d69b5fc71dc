"""The approver's script, run for real with requests that openssl made and a kubectl that answers from files."""

import base64
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlops_infra.render import render

# Stands in for kubectl: prints what the test laid down, and writes down what was approved.
KUBECTL = """#!/bin/sh
[ "$1" = --request-timeout=10s ] && shift
case "$1 $2" in
'get certificatesigningrequests') cat "$STAND_IN/pending" ;;
'get node') [ -e "$STAND_IN/node-$3" ] && cat "$STAND_IN/node-$3" || exit 1 ;;
'certificate approve') echo "$3" >>"$STAND_IN/approved" ;;
*) exit 2 ;;
esac
"""
NODE = "InternalIP 10.0.0.21\nHostname worker-1\n"
USAGES = ",digital+signature,server+auth,"
GROUPS = ",system%3Anodes,system%3Aauthenticated,"


@dataclass
class Cluster:
    directory: Path
    lines: list[str] = field(default_factory=list)

    def ask(
        self,
        name: str = "csr-1",
        *,
        subject: str = "/O=system:nodes/CN=system:node:worker-1",
        names: str = "DNS:worker-1,IP:10.0.0.21",
        user: str = "system%3Anode%3Aworker-1",
        groups: str = GROUPS,
        usages: str = USAGES,
        spoiled: bool = False,
    ) -> None:
        """A request lies there. `names` are openssl's words; none at all when empty."""
        command = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", str(self.directory / "key"), "-subj", subject, "-outform", "pem"]
        command += ["-addext", f"subjectAltName={names}"] if names else []
        pem = subprocess.run(command, capture_output=True, check=True).stdout
        if spoiled:
            lines = pem.decode().splitlines()
            der = bytearray(base64.b64decode("".join(lines[1:-1])))
            der[-1] ^= 1
            pem = "\n".join([lines[0], base64.b64encode(der).decode(), lines[-1], ""]).encode()
        self.lines.append(f"{name} {user} {groups} {usages} {base64.b64encode(pem).decode()}\n")

    def run(self, shell: str = "sh") -> tuple[list[str], str]:
        """Names of what was approved, and what the journal would hold."""
        (self.directory / "pending").write_text("".join(self.lines))
        script = self.directory / "approve"
        script.write_text(render("approver/approve.sh.j2"))
        environment = {
            "PATH": f"{self.directory}:{os.environ['PATH']}",
            "STAND_IN": str(self.directory),
            "KUBECONFIG": str(self.directory / "pending"),
        }
        done = subprocess.run(
            [*shell.split(), str(script)], capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        approved = self.directory / "approved"
        return approved.read_text().split() if approved.exists() else [], done.stderr


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    (tmp_path / "node-worker-1").write_text(NODE)
    return Cluster(tmp_path)


@pytest.mark.parametrize("shell", ["dash", "bash --posix"])
def test_a_kubelets_own_request_is_approved(cluster: Cluster, shell: str) -> None:
    cluster.ask()
    assert cluster.run(shell) == (["csr-1"], "")


@pytest.mark.parametrize(
    "change",
    [
        {"names": "IP:10.0.0.21"},
        {"names": "DNS:worker-1"},
        {"subject": "/CN=system:node:worker-1/O=system:nodes"},
        {"usages": ",digital+signature,key+encipherment,server+auth,"},
        {"usages": ",key+encipherment,digital+signature,server+auth,"},
    ],
)
def test_every_form_that_kubelets_use_is_approved(cluster: Cluster, change: dict[str, str]) -> None:
    cluster.ask(**change)
    assert cluster.run()[0] == ["csr-1"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"names": "DNS:worker-1,IP:10.0.0.99"}, "not an address"),
        ({"names": "DNS:worker-1,DNS:kubernetes.default"}, "not an address"),
        ({"names": "DNS:worker-1,IP:10.0.0.21,URI:spiffe://x"}, "not an address"),
        ({"names": "DNS:worker-1,email:a@b.example"}, "not an address"),
        ({"names": "DNS:*"}, "not an address"),
        ({"names": "DNS:10.0.0.21"}, "not an address"),
        ({"names": "DNS:worker-11"}, "not an address"),
        ({"names": "IP:10.0.0.2"}, "not an address"),
        ({"names": ""}, "not an address"),
        ({"subject": "/O=system:nodes/CN=system:node:master-1"}, "subject"),
        ({"subject": "/O=system:masters/CN=system:node:worker-1"}, "subject"),
        ({"subject": "/O=system:nodes/O=system:masters/CN=system:node:worker-1"}, "subject"),
        ({"subject": "/O=system:nodes/CN=system:node:worker-1,O=x"}, "subject"),
        ({"subject": "/CN=system:node:worker-1"}, "subject"),
        ({"user": "system%3Anode%3Aworker-2"}, "subject"),
        ({"user": "eve"}, "no node"),
        ({"user": "system%3Aserviceaccount%3Akube-system%3Anode"}, "no node"),
        ({"user": "system%3Anode%3A..%2Fworker-1"}, "odd name"),
        ({"user": "system%3Anode%3A"}, "subject"),
        ({"groups": ",system%3Aauthenticated,"}, "group"),
        ({"groups": ",notsystem%3Anodes,"}, "group"),
        ({"usages": ",digital+signature,server+auth,client+auth,"}, "usages"),
        ({"usages": ",client+auth,digital+signature,"}, "usages"),
        ({"usages": ",digital+signature,server+auth,cert+sign,"}, "usages"),
        ({"usages": ","}, "usages"),
        ({"spoiled": True}, "signature"),
    ],
    ids=str,
)
def test_what_a_kubelet_would_not_ask_for_is_left_pending(
    cluster: Cluster, change: dict[str, str | bool], word: str
) -> None:
    cluster.ask(**change)  # type: ignore[arg-type]
    approved, said = cluster.run()
    assert approved == []
    assert word in said


def test_a_node_that_the_cluster_does_not_know_gets_nothing(cluster: Cluster) -> None:
    cluster.ask(subject="/O=system:nodes/CN=system:node:ghost", user="system%3Anode%3Aghost", names="DNS:ghost")
    approved, said = cluster.run()
    assert approved == []
    assert "there is no node ghost" in said


def test_something_that_is_no_request_is_left_pending_and_the_next_one_is_served(cluster: Cluster) -> None:
    noise = base64.b64encode(b"no request").decode()
    cluster.lines.append(f"csr-0 system%3Anode%3Aworker-1 {GROUPS} {USAGES} {noise}\n")
    cluster.lines.append(f"csr-x system%3Anode%3Aworker-1 {GROUPS} {USAGES} !!!\n")
    cluster.ask("csr-2")
    approved, said = cluster.run()
    assert approved == ["csr-2"]
    assert "csr-0" in said
    assert "csr-x" in said


def test_one_bad_request_does_not_lend_its_names_to_the_next(cluster: Cluster) -> None:
    cluster.ask("csr-1")
    cluster.ask("csr-2", names="IP:10.0.0.99")
    assert cluster.run()[0] == ["csr-1"]


def test_before_there_is_a_cluster_it_does_nothing(cluster: Cluster) -> None:
    cluster.ask()
    script = cluster.directory / "approve"
    script.write_text(render("approver/approve.sh.j2"))
    environment = {"PATH": f"{cluster.directory}:{os.environ['PATH']}", "KUBECONFIG": "/nonexistent"}
    assert subprocess.run(["sh", str(script)], env=environment, check=False).returncode == 0
    assert not (cluster.directory / "approved").exists()
