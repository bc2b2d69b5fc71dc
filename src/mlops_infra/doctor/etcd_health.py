"""etcd's disk and its data: how long writes take, and whether members count alike."""

from __future__ import annotations

from typing import Any

from mlops_infra.doctor.check import OK, Check, Finding, Severity, Skipped, Verdict, kubectl
from mlops_infra.doctor.etcd import etcdctl, status_of
from mlops_infra.doctor.probes import control_plane_of_masters, kubelet, kubelet_of_masters, said
from mlops_infra.doctor.view import View

__all__ = ["CONSISTENCY", "FSYNC"]

_SLOW = 0.128
"""Seconds. etcd's own advice is 10 ms for 99 of 100 writes, which many a virtual disk misses and etcd survives; from
here on heartbeats are late and leaders change. A bound of etcd's histogram."""
_ENOUGH = 1000
"""Writes: below these, a percentile is an anecdote."""
_SLACK = 1000
"""Entries that may be applied between the two readings that one status is made of."""


def _buckets(view: View, host: str) -> list[tuple[float, float]]:
    """Upper bound in seconds, and how many writes were not slower, since the member started."""
    found = []
    for line in (said(view.facts(host), kubelet(view.cluster)) or {}).get("etcd-wal", ()):
        bound, _, count = line.partition(" ")
        try:
            found.append((float(bound), float(count)))
        except ValueError:
            continue
    return sorted(found)


def _fsync(view: View, _: str) -> Verdict:
    slow: dict[str, str] = {}
    for master in view.cluster.hosts.masters:
        buckets = _buckets(view, master.name)
        total = buckets[-1][1] if buckets else 0
        if total < _ENOUGH:
            continue
        late = total - max((count for bound, count in buckets if bound <= _SLOW), default=0)
        if late > 0.01 * total:
            slow[master.name] = f"{late / total:.1%} of {total:.0f} writes took longer than {_SLOW * 1000:.0f} ms"
    if not slow:
        return OK
    return Finding(
        f"the disk below etcd is slow on {', '.join(slow)}",
        "\n".join(f"{host}: {words}" for host, words in slow.items()),
        "a disk shared with others, or one without a cache that survives a power cut; etcd waits for each write, and "
        "everything waits for etcd",
        kubectl(view.a_master, "-n kube-system logs -l component=etcd --tail=20")
        + "   # then give /var/lib/etcd an SSD of its own",
        hosts=tuple(slow),
    )


def _counts(status: dict[str, Any]) -> tuple[int, int] | None:
    """Entries applied, and revision."""
    try:
        return int(status["raftAppliedIndex"]), int(status["header"]["revision"])
    except (KeyError, TypeError, ValueError):
        return None


def _consistency(view: View, _: str) -> Verdict:
    names = [m.name for m in view.cluster.hosts.masters]
    counts = {n: c for n in names if (s := status_of(view, n)) is not None and (c := _counts(s)) is not None}
    if len(counts) < 2:
        return OK if len(names) == 1 else Skipped("fewer than two members told their revision")
    first, (applied, revision) = max(counts.items(), key=lambda item: item[1])
    # An entry raises the revision by one at most, so nobody is further behind in revisions than in entries.
    wrong = tuple(
        name
        for name, (its, own) in counts.items()
        if own > revision + _SLACK or revision - own > applied - its + _SLACK
    )
    if not wrong:
        return OK
    return Finding(
        f"the data of etcd on {', '.join(wrong)} are not those on {first}",
        "\n".join(f"{name}: {a} entries applied, revision {r}" for name, (a, r) in counts.items()),
        "a member was restored alone, or lost writes that it had confirmed: what it answers is its own",
        etcdctl(first, "endpoint hashkv --cluster -w table"),
        hosts=wrong,
    )


CONSISTENCY = Check(
    "etcd.consistency",
    "Do etcd's members have the same data?",
    Severity.ERROR,
    _consistency,
    "Compares how far the members' revisions are apart with how many entries they have applied: the first can never be "
    "the larger. Finds gross differences for nothing; a damaged member that finds out about itself raises an alarm "
    "(etcd.alarm), and `etcdctl endpoint hashkv --cluster` compares everything.",
    scope="cluster",
    roles=frozenset({"master"}),
    needs=control_plane_of_masters,
    depends_on=("etcd.member", "etcd.members", "etcd.alarm"),
)

FSYNC = Check(
    "etcd.fsync",
    "Is the disk below etcd fast enough?",
    Severity.WARNING,
    _fsync,
    "From etcd's own count of writes to its log since it started: told where more than one of a hundred took longer "
    "than 128 ms. etcd asks for 10 ms; an SSD of its own does that.",
    scope="cluster",
    needs=kubelet_of_masters,
    advice=True,
)
