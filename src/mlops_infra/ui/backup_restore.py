"""How a restore is planned, and how it ended, on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops_infra.app.backup_loss import Loss
from mlops_infra.app.backup_restore import RestorePlan
from mlops_infra.engine.result import RunResult
from mlops_infra.ui.backup import size_text, versions_text
from mlops_infra.ui.console import Style

__all__ = ["loss_text", "plan_shape", "restore_plan_text", "restore_shape", "restore_text", "upload_text"]

_SHOWN = 12


def restore_plan_text(plan: RestorePlan, masters: Sequence[str], style: Style) -> str:
    """What will be lost, and what is done to whom."""
    said = plan.manifest
    lines = [
        style.strong(f"Restore {said.cluster.name} from {plan.bundle}"),
        f"made       {said.created} on {said.host}: {said.etcd['live_keys']} keys at revision {said.etcd['revision']}, "
        f"etcd {said.etcd['version']}, {versions_text(said.versions)}",
        "",
    ]
    if plan.resumes:
        lines += [
            f"{style.note('note:')} a restore of this bundle was begun ({plan.token}) and has not ended: it goes on "
            "from there, and what is done is not done again",
            "",
        ]
    else:
        lines += [*loss_text(plan.loss, said.created, style), ""]
    bare = (*plan.bare_balancers, *plan.rebuilt, *plan.rejoined)
    if bare:
        lines.append(f"  prepare    {', '.join(bare)}: bare, get all that `up` installs")
    lines += [
        f"  stop       API server, controllers, scheduler and etcd of {', '.join(masters)}; workers' pods run on",
        "  data       etcd's data of before is kept beside the new (/var/lib/etcd/before-…)",
    ]
    if plan.rebuilt:
        lines.append(f"  rebuild    {', '.join(plan.rebuilt)}: certificates anew, from the bundle's authorities")
    lines += [
        "  restore    the same snapshot on every master; revisions jump, so that nobody trusts an older view",
        "  start      etcd, then the API; kubelets look anew",
    ]
    if plan.rejoined:
        lines.append(f"  join       {', '.join(plan.rejoined)}: under their names, with their labels and pods")
    lines.append("  prove      up, doctor, smoke")
    volumes = "Persistent volumes are not in a bundle: what pods kept there stays as it is now."
    if plan.rejoined:
        volumes += f"\nlocal-path volumes that are not on the disks of {', '.join(plan.rejoined)} come back empty."
    return "\n".join([*lines, "", volumes])


def loss_text(loss: Loss, since: str, style: Style) -> list[str]:
    """What of now will be gone."""
    if not loss.known:
        return [f"{style.warn('lost:')} everything since {since}; no etcd lives that could say what that is"]
    if loss.is_nothing:
        return [f"{style.good('lost:')} nothing: no object was made, changed or deleted since the snapshot"]
    lines = [f"{style.warn('lost:')} what happened since {since}"]
    for word, names in (
        ("made since, will be gone", loss.created),
        ("changed since, will be as they were", loss.changed),
        ("deleted since, will be back", loss.deleted),
    ):
        if names:
            lines.append(f"  {len(names)} {word}:")
            lines += [f"    {name}" for name in names[:_SHOWN]]
            lines += [f"    … and {len(names) - _SHOWN} more (--json names all)"] if len(names) > _SHOWN else []
    if not loss.back_known:
        lines.append("  objects deleted since will be back; this bundle is too old to list them")
    return lines


def plan_shape(plan: RestorePlan) -> dict[str, Any]:
    loss = plan.loss
    return {
        "bundle": str(plan.bundle),
        "cluster": plan.manifest.cluster.name,
        "created": plan.manifest.created,
        "revision": plan.manifest.etcd["revision"],
        "token": plan.token,
        "resumes": plan.resumes,
        "rebuilt": list(plan.rebuilt),
        "rejoined": list(plan.rejoined),
        "lost": {
            "known": loss.known,
            "created": list(loss.created),
            "changed": list(loss.changed),
            "deleted": list(loss.deleted),
            "deleted_known": loss.back_known,
        },
    }


def upload_text(done: int, size: int) -> str:
    return f"{size_text(done)} of {size_text(size)}"


def restore_text(
    plan: RestorePlan, seconds: Mapping[str, float], total: float, empty: Sequence[str], style: Style
) -> str:
    """The end of one that went well. `empty`: volumes whose directories were gone."""
    took = ", ".join(f"{name} {second:.0f}" for name, second in seconds.items())
    lines = [
        f"{style.good('restored')}   {plan.manifest.cluster.name} as of {plan.manifest.created}",
        f"time       {total:.0f} s ({took})",
        f"before     etcd's data of before lies in /var/lib/etcd/before-{plan.token} of each master that had any; "
        "the next restore removes it, or you do",
    ]
    lost = "its directory was gone, and with it what pods kept there"
    return "\n".join([*lines, *(f"{style.warn('empty:')} the volume of {name}: {lost}" for name in empty)])


def restore_shape(plan: RestorePlan, run: RunResult, seconds: Mapping[str, float], total: float) -> dict[str, Any]:
    return {
        **plan_shape(plan),
        "run": run.run_id,
        "exit_code": int(run.exit_code),
        "seconds": round(total, 1),
        "steps": dict(seconds),
    }
