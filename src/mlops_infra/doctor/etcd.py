"""etcd: its members, their majority, their alarms and their size; asked on every master, of its own member."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from mlops_infra.doctor.check import OK, Check, Finding, Severity, Skipped, Verdict, kubectl, on_host
from mlops_infra.doctor.probes import Said, control_plane, control_plane_of_masters, parse_json, said
from mlops_infra.doctor.view import View

__all__ = ["ETCD", "etcdctl", "in_pod_of", "is_of", "members_of", "status_of"]

MASTER = frozenset({"master"})
_QUOTA = 2 * 1024**3
"""etcd's default quota-backend-bytes."""


def etcdctl(host: str, words: str) -> str:
    """The command line for one etcdctl, in the pod of a master's member."""
    return kubectl(host, f"{in_pod_of(host)} {words}")


def in_pod_of(host: str) -> str:
    """kubectl's words for etcdctl in the pod of a master's member."""
    pki = "/etc/kubernetes/pki/etcd"
    return (
        f"-n kube-system exec etcd-{host} -- etcdctl --endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt "
        f"--cert={pki}/healthcheck-client.crt --key={pki}/healthcheck-client.key"
    )


def _lines(view: View, host: str) -> Said | None:
    return said(view.facts(host), control_plane(view.cluster.host_named(host)))


def status_of(view: View, host: str) -> dict[str, Any] | None:
    """What a member says of itself; None where it does not answer, or with an error."""
    found = parse_json((_lines(view, host) or {}).get("status", ()))
    return found if isinstance(found, dict) and "version" in found else None


def _members(view: View, host: str) -> list[dict[str, Any]] | None:
    """The member list that the majority agreed on, asked on one master; None where it could not agree."""
    found = parse_json((_lines(view, host) or {}).get("members", ()))
    members = found.get("members") if isinstance(found, dict) else None
    return members if isinstance(members, list) else None


def members_of(view: View) -> tuple[str, list[dict[str, Any]]] | None:
    """The member list that most masters tell, and one of these; None where none can be had.

    A member that was started anew on its own has a majority of one: the larger cluster is the platform's.
    """
    told = [(m, found) for m in _masters(view) if (found := _members(view, m)) is not None]
    alike = Counter(_ids(found) for _, found in told)
    return max(told, key=lambda one: (alike[_ids(one[1])], len(one[1])), default=None)


def _ids(members: list[dict[str, Any]]) -> frozenset[str]:
    return frozenset(str(m.get("ID")) for m in members)


def _masters(view: View) -> list[str]:
    return [m.name for m in view.cluster.hosts.masters]


def _member(view: View, host: str) -> Verdict:
    lines = _lines(view, host)
    if lines is None:
        return Skipped("the master's script did not answer")
    if "etcd" in lines:
        return Finding(
            "its etcd member does not run",
            "\n".join(lines.get("etcd-log", ())),
            "its container ends again and again, or the kubelet does not start it",
            on_host(host, "systemctl restart containerd kubelet"),
        )
    if status_of(view, host) is not None:
        return OK
    return Finding(
        "its etcd member does not answer",
        _plain(" ".join(lines.get("status", ())).strip())[:400] or "its status: no answer within 5 s",
        "it has only just started, cannot write fast enough, or its certificates do not fit",
        on_host(host, "pkill -x etcd"),
    )


def _plain(text: str) -> str:
    """OpenSSL's errors without their numbers and the places in its source."""
    return re.sub(r"\b[0-9A-F]{8,}:error:[0-9A-F]+:([^:]*):[^:]*:([^:]*):[^:]*:\d+:", r"\1: \2: ", text)


def _quorum(view: View, _: str) -> Verdict:
    reached = [m for m in _masters(view) if _lines(view, m) is not None]
    if not reached:
        return Skipped("no master could be asked")
    alive = [m for m in reached if status_of(view, m) is not None]
    agreed = members_of(view)
    if agreed is None:
        if not alive and len(reached) == 1 and len(_masters(view)) > 1:
            return Skipped("only one master could be asked, and its member does not run")
        return Finding(
            "etcd has no majority: nothing can be written",
            f"members that answer: {', '.join(alive) or 'none'} of {', '.join(_masters(view))}",
            "too many members are down at once",
            _first_aid(view),
        )
    voters = [m for m in agreed[1] if not m.get("isLearner")]
    masters = view.cluster.hosts.masters
    members = {m.name for m in masters if any(is_of(one, m.node_address) for one in agreed[1])}
    # A learner has no vote yet, which etcd.members tells.
    lost = [m.name for m in masters if m.name not in members or m.name not in alive]
    left, wanted = len(voters) - len(members.intersection(lost)), max(len(voters), len(masters))
    if wanted > 2 and lost and left <= len(voters) // 2 + 1:
        return Finding(
            f"etcd survives no further failure: {left} of {wanted} members left",
            f"not there: {', '.join(lost)}",
            "a member is down or was not replaced",
            _first_aid(view),
            hosts=tuple(lost),
            severity=Severity.ERROR,
        )
    return OK


def _first_aid(view: View) -> str:
    down = [m for m in _masters(view) if view.answered(m) and status_of(view, m) is None]
    return on_host(down[0], "systemctl start containerd kubelet") if down else "mlops-infra hosts ping"


def _membership(view: View, _: str) -> Verdict:
    agreed = members_of(view)
    if agreed is None:
        return Skipped("no member list could be had")
    host, members = agreed
    found: list[Finding] = []
    addresses = {m.node_address: m.name for m in view.cluster.hosts.masters}
    for member in members:
        owner = next((n for a, n in addresses.items() if is_of(member, a)), "")
        name = member.get("name") or "(never started)"
        if owner and member.get("name") and not member.get("isLearner"):
            continue
        what = "is a learner" if member.get("isLearner") else "was never started" if owner else "is no master of ours"
        found.append(
            Finding(
                f"the etcd member {name} {what}",
                ", ".join(member.get("peerURLs", ())),
                "a master was removed or joined half-way: a member that does not answer counts against the majority",
                etcdctl(host, f"member remove {int(member.get('ID', 0)):x}"),
                hosts=(owner,) if owner else (),
            )
        )
    return tuple(found) if found else OK


def is_of(member: dict[str, Any], address: str) -> bool:
    """Whether a member is the one at this address."""
    urls = member.get("peerURLs", ())
    return any(url.rpartition(":")[0].endswith(f"/{address}") or f"[{address}]" in url for url in urls)


def _alarms(view: View, _: str) -> Verdict:
    said_errors = {m: s.get("errors") for m in _masters(view) if (s := status_of(view, m)) is not None}
    if not said_errors:
        return Skipped("no member answered")
    # A member without a leader says so in the same place: that is the majority's matter.
    alarms = {m: [str(e) for e in errors or () if "alarm:" in str(e)] for m, errors in said_errors.items()}
    raised = {m: ", ".join(texts) for m, texts in alarms.items() if texts}
    if not raised:
        return OK
    host, words = next(iter(raised.items()))
    space = "NOSPACE" in " ".join(raised.values())
    return Finding(
        "etcd has raised an alarm" + (": its space is used up, and it takes no writes" if space else ""),
        "\n".join(f"{m}: {w}" for m, w in raised.items()) or words,
        "the database reached its quota; old revisions have to go" if space else "a member's data may be damaged",
        f"{etcdctl(host, 'defrag --cluster')} && {etcdctl(host, 'alarm disarm')}"
        if space
        else etcdctl(host, "alarm list"),
    )


def _size(view: View, host: str) -> Verdict:
    status = status_of(view, host)
    if status is None:
        return Skipped("the member did not answer")
    quota = int(view.cluster.kubeadm.etcd_args.get("quota-backend-bytes", _QUOTA))
    size = int(status.get("dbSize", 0))
    if size < 0.8 * quota:
        return OK
    return Finding(
        f"its etcd database has {size / quota:.0%} of the room it may take",
        f"{size / 1024**2:.0f} MiB of {quota / 1024**2:.0f}",
        "something writes many or large objects, or the space of old revisions was never given back",
        etcdctl(host, "defrag"),
    )


ETCD: tuple[Check, ...] = (
    Check(
        "etcd.member",
        "Does each master's etcd member run and answer?",
        Severity.ERROR,
        _member,
        "Asked on the master itself, over the member's JSON gateway, so that it works when the API is down.",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=(
            "host.disk",
            "host.inodes",
            "cri.up",
            "cri.config",
            "kubelet.up",
            "etcd.removed",
            "cp.manifest",
            "cert.expiry",
        ),
    ),
    Check(
        "etcd.quorum",
        "Has etcd its majority, and could it lose a member?",
        Severity.CRITICAL,
        _quorum,
        "Of three members two must work together. Without the majority nothing can be written; with one member "
        "lost the next failure stops the API.",
        scope="cluster",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("etcd.removed", "etcd.member", "cri.up", "kubelet.up", "cp.manifest", "host.disk", "net.ways"),
    ),
    Check(
        "etcd.members",
        "Are the members exactly our masters?",
        Severity.ERROR,
        _membership,
        "Learners that were never promoted, members that never started and members of masters that are gone all "
        "stand in the way of the next join. A master that is no member is told by etcd.removed.",
        scope="cluster",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("etcd.member",),
    ),
    Check(
        "etcd.alarm",
        "Has etcd raised an alarm?",
        Severity.CRITICAL,
        _alarms,
        "NOSPACE: the database reached its quota and takes no writes until it is compacted and the alarm disarmed. "
        "CORRUPT: a member's data differ from the others'.",
        scope="cluster",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("host.disk",),
    ),
    Check(
        "etcd.size",
        "Is there room in etcd's database?",
        Severity.WARNING,
        _size,
        "Compares each member's database with its quota (2 GiB where cluster.yaml does not say otherwise).",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("etcd.member",),
    ),
)
