"""Whether the hosts can be spoken to at all, and whether they were ever built."""

from __future__ import annotations

from typing import Any

from mlops_infra.core import Absent, Probe
from mlops_infra.doctor.check import OK, Check, Finding, Severity, Skipped, Verdict
from mlops_infra.doctor.probes import HAPROXY_CONFIG, KUBELET_CONF
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["BUILT", "REACH"]

_KEYS = {"HostKeyUnknown", "HostKeyChanged"}
_LOGIN = {"AuthFailed", "KeyFileProblem"}
_SUDO = {"SudoDenied"}


def _of_kinds(view: View, host: str, kinds: set[str], *, others: bool = False) -> Verdict:
    problem = view.problem(host)
    if problem is None or (problem.kind in kinds) is others:
        return OK
    # The host stands before a finding already.
    return Finding(problem.brief.removeprefix(f"{host} "), "", problem.cause, problem.remedy)


def _ssh(view: View, host: str) -> Verdict:
    return _of_kinds(view, host, _KEYS | _LOGIN | _SUDO, others=True)


def _hostkey(view: View, host: str) -> Verdict:
    return _of_kinds(view, host, _KEYS)


def _login(view: View, host: str) -> Verdict:
    return _of_kinds(view, host, _LOGIN)


def _sudo(view: View, host: str) -> Verdict:
    return _of_kinds(view, host, _SUDO)


REACH: tuple[Check, ...] = (
    Check(
        "host.ssh",
        "Does the host answer over SSH?",
        Severity.ERROR,
        _ssh,
        "Every host is connected to once. One that refuses, does not answer in time or cannot be found is told here, "
        "and all that cannot be known or does not work because of it is told below it.",
        needs_answer=False,
    ),
    Check(
        "host.hostkey",
        "Is the host's key the pinned one?",
        Severity.ERROR,
        _hostkey,
        "A key that was never pinned, or another one than the pinned, stops that host: nothing is sent to it. A "
        "machine that was installed anew shows another key; so does somebody in between.",
        needs_answer=False,
    ),
    Check(
        "host.login",
        "Does the host accept our user and key?",
        Severity.ERROR,
        _login,
        "The user of cluster.yaml must be able to log in with a key of the agent or of the named file.",
        needs_answer=False,
    ),
    Check(
        "host.sudo",
        "Can we become root?",
        Severity.ERROR,
        _sudo,
        "Everything is asked and done as root: by logging in as root, by sudo without a password, or with one.",
        needs_answer=False,
    ),
)


def _platform_built(view: View, _: str) -> Verdict:
    answers = [view.answer(m.name, KUBELET_CONF) for m in view.cluster.hosts.masters if view.answered(m.name)]
    if not answers:
        return Skipped("no master could be asked")
    if not all(isinstance(answer, Absent) for answer in answers):
        return OK
    return Finding(
        "there is no cluster on these hosts yet",
        f"no {KUBELET_CONF.path} on any master that answers",
        "`up` was not run yet, or the masters were emptied",
        "mlops-infra up",
    )


def _host_built(view: View, host: str) -> Verdict:
    probe = HAPROXY_CONFIG if view.cluster.role(host) == "lb" else KUBELET_CONF
    if not isinstance(view.answer(host, probe), Absent):
        return OK
    what = "it does not balance yet" if view.cluster.role(host) == "lb" else "it has not joined the cluster"
    return Finding(
        what,
        f"no {probe.path}",
        "the host is new in cluster.yaml, was installed anew, or its last `up` did not end well",
        f"mlops-infra up --limit {host}",
    )


def _built_needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    return frozenset({HAPROXY_CONFIG if cluster.role(host.name) == "lb" else KUBELET_CONF})


BUILT: tuple[Check, ...] = (
    Check(
        "platform.built",
        "Is there a cluster on these hosts?",
        Severity.CRITICAL,
        _platform_built,
        "Where no master that answers holds kubeadm's files there is nothing to examine yet.",
        scope="cluster",
        needs=_built_needs,
    ),
    Check(
        "host.built",
        "Is the host a part of the platform?",
        Severity.ERROR,
        _host_built,
        "A node holds the kubelet's credentials since it joined, a load balancer its configuration since `up` "
        "wrote it.",
        needs=_built_needs,
    ),
)
