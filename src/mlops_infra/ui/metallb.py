"""What MetalLB does, and what a change of its pools would do, for a person and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlops_infra.app.metallb import PoolChange
from mlops_infra.app.metallb_state import Balanced, MetallbState
from mlops_infra.ui.console import Style
from mlops_infra.ui.report import table

__all__ = ["change_shape", "change_text", "state_shape", "state_text"]


def state_text(state: MetallbState, style: Style) -> str:
    """Pools, Services, and whether MetalLB's parts are well."""
    if not state.known:
        return "No API server answers: nothing is known of MetalLB."
    if not state.installed:
        return "MetalLB is not installed (`mlops-infra metallb apply`)."
    lines: list[str] = []
    if state.pools:
        rows = [("POOL", "ADDRESSES", "USED", "FREE", "")]
        rows += [
            (p.name, ", ".join(p.ranges), str(p.used), str(p.free), "" if p.announced else "not announced")
            for p in state.pools
        ]
        lines += [*table(rows, style), ""]
    else:
        lines += [style.warn("no pool: Services of type LoadBalancer wait (`mlops-infra metallb set-pool RANGE`)"), ""]
    if state.services:
        who = [("SERVICE", "ADDRESS", "ANNOUNCED BY")]
        who += [(s.full_name, ", ".join(s.addresses) or "waits for one", s.node or "-") for s in state.services]
        lines += [*table(who, style), ""]
    ready = [node for node, well in state.speakers.items() if well]
    unwell = [node for node, well in state.speakers.items() if not well]
    lines += [
        f"controller  {'serves' if state.controller else style.bad('not ready')}",
        f"webhook     {style.bad(state.webhook) if state.webhook else 'serves'}",
        f"speakers    {len(ready)} of {len(state.speakers)} ready"
        + (style.bad(f" (not: {', '.join(unwell)})") if unwell else ""),
    ]
    return "\n".join(lines)


def state_shape(state: MetallbState) -> dict[str, Any]:
    """docs/reference/json.md, `metallb status`."""
    return {
        "known": state.known,
        "installed": state.installed,
        "pools": [
            {
                "name": p.name,
                "ranges": list(p.ranges),
                "size": p.size,
                "used": p.used,
                "free": p.free,
                "announced": p.announced,
            }
            for p in state.pools
        ],
        "services": _services(state.services),
        "controller": state.controller,
        "webhook": {"serves": state.known and not state.webhook, "problem": state.webhook},
        "speakers": [{"node": node, "ready": ready} for node, ready in state.speakers.items()],
    }


def change_text(change: PoolChange, style: Style) -> str:
    """Old and new ranges, and what it means for each Service."""
    lines = [f"{style.strong(change.pool)}: {', '.join(change.before) or 'none'} → {', '.join(change.after)}"]
    lines += [f"  keeps      {s.full_name}  {', '.join(s.addresses)}" for s in change.keep]
    lines += [style.bad(f"  loses      {s.full_name}  {', '.join(s.addresses)}") for s in change.lose]
    lines += [f"  gets one   {s.full_name}" for s in change.waiting]
    lines += [f"{style.note('note:')} {note}" for note in change.notes]
    return "\n".join(lines)


def change_shape(change: PoolChange) -> dict[str, Any]:
    """docs/reference/json.md, `metallb set-pool`."""
    return {
        "pool": change.pool,
        "before": list(change.before),
        "after": list(change.after),
        "keep": _services(change.keep),
        "lose": _services(change.lose),
        "waiting": _services(change.waiting),
        "notes": list(change.notes),
    }


def _services(services: Iterable[Balanced]) -> list[dict[str, Any]]:
    return [
        {
            "namespace": s.namespace,
            "name": s.name,
            "addresses": list(s.addresses),
            "ports": list(s.ports),
            "pool": s.pool,
            "node": s.node,
        }
        for s in services
    ]
