"""Closing reports: what is there, what was done, what is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlops_infra.app.runs import PastRun
from mlops_infra.app.status import Backend, Balancer, Node, Status
from mlops_infra.core import API, Outcome, StepResult
from mlops_infra.ui.console import Style
from mlops_infra.ui.plan import count_of, hosts_text, problems_text

__all__ = ["PARTS", "results_text", "runs_text", "status_text", "table"]

PARTS = ("nodes", "lb", "etcd", "access")
_GOOD = (Outcome.OK, Outcome.CHANGED)
_HELD_UP = (Outcome.BLOCKED, Outcome.SKIPPED, Outcome.CANCELLED)


def table(rows: Sequence[Sequence[str]], style: Style) -> list[str]:
    """Rows in columns; the first one is the heading. Columns that are empty below their heading are left out."""
    kept = [c for c in range(len(rows[0])) if any(row[c] for row in rows[1:])]
    widths = [max(len(row[c]) for row in rows) for c in kept]
    lines = ["  ".join(row[c].ljust(w) for c, w in zip(kept, widths, strict=True)).rstrip() for row in rows if kept]
    return [style.dim(line) if i == 0 else line for i, line in enumerate(lines)]


def status_text(status: Status, style: Style, parts: Iterable[str] = PARTS, roles: Iterable[str] = ()) -> str:
    """The state of a platform, with its notes, or of some of its parts; `roles` limits the nodes."""
    wanted, only = set(parts), set(roles)
    lines: list[str] = []
    if "nodes" in wanted:
        versions = ", ".join(f"{name} {version}" for name, version in status.versions.items())
        lines += [style.strong(status.cluster), f"versions   {versions}"]
        lines += [f"endpoint   https://{status.endpoint} at {status.endpoint_address}", ""]
        lines += _nodes([n for n in status.nodes if not only or n.role in only], style)
        lines += [style.warn(f"orphan: {name} is a node but not in cluster.yaml") for name in status.orphans]
    if "lb" in wanted and status.lb:
        lines += ["", *_balancers(status.lb, style)]
    if "etcd" in wanted and any(m.member is not None for m in status.etcd):
        members = [m.name for m in status.etcd if m.member]
        lines += ["", f"etcd       members on {hosts_text(members) or 'no master'}"]
    if "access" in wanted:
        lines += [f"kubeconfig {status.kubeconfig or 'not fetched yet (`mlops-infra kubeconfig`)'}"]
        for balancer in status.lb:
            lines.append(
                f"statistics {balancer.stats_url}  user {status.stats_user}, password in {status.stats_password_in}"
            )
        if status.grafana_url:
            lines.append(f"grafana    {status.grafana_url}  user and password: `mlops-infra monitoring password`")
            lines.append(f"prometheus {status.prometheus_url}")
    lines += problems_text(status.problems, style)
    if wanted == set(PARTS):
        lines += [f"{style.note('note:')} {note}" for note in status.notes]
    return "\n".join(lines).strip("\n")


def _nodes(nodes: Sequence[Node], style: Style) -> list[str]:
    rows = [("NODE", "ROLE", "ADDRESS", "STATE", "KUBELET", "RUNTIME", "OS")]
    rows += [(n.name, n.role, n.address, _state(n), n.kubelet, n.runtime, n.os) for n in nodes]
    return table(rows, style)


def _state(node: Node) -> str:
    if node.there is None:
        return "not known"
    if not node.there:
        return "not joined"
    return "Ready" if node.ready else "NotReady"


def _balancers(balancers: Sequence[Balancer], style: Style) -> list[str]:
    rows = [("BALANCER", "ADDRESS", "HAPROXY", "SERVERS UP")]
    rows += [(b.name, b.address, b.haproxy, _backends(b.backends)) for b in balancers]
    return table(rows, style)


def _backends(backends: Sequence[Backend]) -> str:
    """`api 2/3 (down: m2), ingress-http 0/3`: who is down is named while others of the same backend serve."""
    servers: dict[str, list[Backend]] = {}
    for one in backends:
        servers.setdefault(one.backend, []).append(one)
    said = []
    for name, members in servers.items():
        down = [m.server for m in members if m.status not in ("UP", "no")]
        named = f" (down: {' '.join(down)})" if down and len(down) < len(members) else ""
        said.append(f"{name} {len(members) - len(down)}/{len(members)}{named}")
    return ", ".join(said)


def results_text(results: Sequence[StepResult], style: Style) -> str:
    """What came of a run: each thing that went wrong, once per cause, and how much was changed."""
    failed: dict[tuple[str, ...], list[str]] = {}
    silent: dict[tuple[str, ...], list[str]] = {}
    held_up: dict[tuple[str, ...], list[str]] = {}
    for r in results:
        if r.outcome in _HELD_UP:
            held_up.setdefault((f"{r.id.phase} {r.outcome}: {r.brief}",), []).append(r.id.host)
        elif r.outcome is Outcome.UNREACHABLE:
            silent.setdefault((r.brief or "unreachable", "", r.cause, r.remedy), []).append(r.id.host)
        elif r.outcome not in _GOOD:
            said = (r.brief or str(r.outcome), r.details, r.cause, r.remedy)
            failed.setdefault((r.id.phase, *said), []).append(r.id.host)
    lines: list[str] = []
    for key, hosts in failed.items():
        lines += _trouble("failed:", f"{key[0]} on {hosts_text(hosts)}", key[1:], style)
    for key, hosts in silent.items():
        lines += _trouble("unreachable:", hosts_text(list(dict.fromkeys(hosts))), key, style)
    lines += [f"{style.warn('not done:')} {what} ({hosts_text(hosts)})" for (what,), hosts in held_up.items()]
    changed = [r for r in results if r.outcome is Outcome.CHANGED]
    if changed:
        count = sum(len(r.changed) for r in changed)
        touched = {r.id.host for r in changed} - {API}
        where = f"on {count_of(len(touched), 'host')}" if touched else "in the cluster"
        lines.append(f"Changed {count_of(count, 'thing')} {where}.")
    return "\n".join(lines)


def _trouble(kind: str, subject: str, said: Sequence[str], style: Style) -> list[str]:
    brief, details, cause, remedy = said
    lines = [f"{style.bad(kind)} {style.strong(subject)}: {brief}"]
    lines += [f"    {line}" for line in details.strip().splitlines()]
    lines += [f"  {style.dim('why:')} {cause}"] if cause else []
    lines += [f"  {style.dim('try:')} {remedy}"] if remedy else []
    return lines


def runs_text(runs: Sequence[PastRun], style: Style) -> str:
    if not runs:
        return "No runs yet."
    return "\n".join(table([("RUN", "STARTED (UTC)", "OUTCOME"), *((r.id, r.started, r.outcome) for r in runs)], style))
