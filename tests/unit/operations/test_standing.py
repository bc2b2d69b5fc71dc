from typing import Any

import pytest

from mlops_infra.core import ABSENT, ApiObject, CommandFact, Facts, OperationState, Stat, StatFact, Unknown
from mlops_infra.operations.evidence import evidence, evidence_probes, init_standing, join_standing, marker

PATHS = {
    "K": "/etc/kubernetes/kubelet.conf",
    "A": "/etc/kubernetes/admin.conf",
    "M": "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "C": "/var/lib/kubelet/config.yaml",
    "E": "/var/lib/etcd/member",
}
THERE = StatFact("file", 0o600, "root", "root", 1)
NODE: dict[bool | None, Any] = {True: {"kind": "Node"}, False: ABSENT, None: Unknown("no API")}


def facts_of(letters: str, node: bool | None, operation: str, *, running: bool = False) -> Facts:
    """K kubelet.conf, A admin.conf, M the API server's manifest, C the kubelet's config, E etcd data, I begun."""
    answers: dict[Any, Any] = {Stat(path): THERE if letter in letters else ABSENT for letter, path in PATHS.items()}
    answers[Stat(marker(operation))] = THERE if "I" in letters else ABSENT
    answers[ApiObject("v1", "Node", "n")] = NODE[node]
    for probe in evidence_probes("n", operation):
        answers.setdefault(probe, CommandFact(0 if running else 1, ""))
    return Facts(answers)


INIT = [
    ("", None, "pending"),
    ("", False, "pending"),
    ("", True, "broken"),  # the cluster knows this node; a second cluster must not come of it
    ("KAMCE", True, "done"),
    ("KAMCE", None, "done"),  # its API server is down at this moment: not a reason to make a cluster
    ("KAMCE", False, "broken"),
    ("I", None, "pending"),
    ("AI", None, "pending"),
    ("KAMCEI", None, "pending"),  # the script looks whether it had finished
    ("A", None, "broken"),
    ("KAM", None, "broken"),
    ("E", None, "broken"),  # somebody's etcd data
    ("KC", True, "broken"),  # a worker
]
JOIN_MASTER = [
    ("", None, "pending"),
    ("", False, "pending"),
    ("", True, "broken"),
    ("KAMCE", True, "done"),
    ("KAMCE", None, "done"),
    ("KAMCE", False, "broken"),
    ("KAMC", True, "broken"),
    ("KC", True, "broken"),
    ("E", False, "broken"),
    ("KAMCI", False, "pending"),
]
JOIN_WORKER = [
    ("", None, "pending"),
    ("", True, "broken"),
    ("KC", True, "done"),
    ("KC", None, "done"),
    ("KC", False, "broken"),
    ("C", False, "broken"),
    ("KCM", True, "broken"),  # a worker that carries a control plane
    ("CI", False, "pending"),
    ("KCI", True, "pending"),
]


@pytest.mark.parametrize(("letters", "node", "expected"), INIT)
def test_the_first_master_stands_as_its_files_and_the_cluster_say(
    letters: str, node: bool | None, expected: str
) -> None:
    facts = facts_of(letters, node, "kubeadm-init")
    assert init_standing(evidence(facts, "n", "kubeadm-init"), "n").state == expected


@pytest.mark.parametrize(
    ("role", "letters", "node", "expected"),
    [("master", *row) for row in JOIN_MASTER] + [("worker", *row) for row in JOIN_WORKER],
)
def test_a_join_stands_as_its_files_and_the_cluster_say(
    role: str, letters: str, node: bool | None, expected: str
) -> None:
    facts = facts_of(letters, node, "kubeadm-join")
    assert join_standing(evidence(facts, "n", "kubeadm-join"), "n", role).state == expected


@pytest.mark.parametrize("letters", ["A", "KAM", "E"])
def test_what_is_half_done_comes_with_the_evidence_and_a_way_out(letters: str) -> None:
    standing = init_standing(evidence(facts_of(letters, None, "kubeadm-init"), "n", "kubeadm-init"), "n")
    for letter in letters:
        assert PATHS[letter] in standing.reason.split("missing")[0]
    assert "kubeadm reset" in standing.remedy
    assert "etcdctl member remove" in standing.remedy


@pytest.mark.parametrize(
    ("letters", "expected", "word"),
    [
        ("", "pending", "not initialised"),
        ("AI", "pending", "still at work"),  # ours, of a run that was cut off: waited for
        ("A", "unknown", "not for us"),
        ("KAMCE", "done", ""),  # somebody looks at certificates there
    ],
)
def test_a_kubeadm_that_runs_is_waited_for_when_it_is_ours(letters: str, expected: str, word: str) -> None:
    facts = facts_of(letters, None, "kubeadm-init", running=True)
    standing = init_standing(evidence(facts, "n", "kubeadm-init"), "n")
    assert standing.state == expected
    assert word in standing.reason


def test_a_host_that_was_not_asked_is_not_taken_for_a_bare_one() -> None:
    assert init_standing(evidence(Facts(), "n", "kubeadm-init"), "n").state is OperationState.UNKNOWN
    assert join_standing(evidence(Facts(), "n", "kubeadm-join"), "n", "worker").state is OperationState.UNKNOWN
