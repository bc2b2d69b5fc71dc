"""How a drill is shown: what came back, and how long until it would be back."""

from __future__ import annotations

from typing import Any

from mlops_infra.app.backup_drill import Drill
from mlops_infra.ui.console import Style

__all__ = ["drill_shape", "drill_text"]


def drill_text(done: Drill, style: Style) -> str:
    etcd = done.manifest.etcd
    word = style.good("restored") if done.ok else style.bad("DIFFERS ")
    same = "the very keys of the bundle" if done.keys_same else style.bad("not the keys of the bundle")
    lines = [
        f"{word}   {done.bundle.name} into a throw-away etcd and API server on {done.host}",
        f"keys       {done.keys} of {etcd['live_keys']}, {same}",
        f"objects    {done.objects} listed through the API: "
        + ", ".join(f"{k.found} {k.kind}" for k in done.kinds if k.found and k.ok),
    ]
    lines += [
        f"{style.bad('missing:')} {k.expected - k.found} of {k.expected} {k.kind}" for k in done.kinds if not k.ok
    ]
    lines += [f"{style.bad('missing:')} {name} could not be listed" for name in done.failed]
    took = ", ".join(f"{name} {second:.1f}" for name, second in done.seconds.items())
    return "\n".join(
        [
            *lines,
            f"time       {done.total:.1f} s until the API answered with everything ({took})",
            f"point      the data is {_span(done.age)} old: what has come since would be lost",
        ]
    )


def _span(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def drill_shape(done: Drill) -> dict[str, Any]:
    return {
        "ok": done.ok,
        "bundle": str(done.bundle),
        "host": done.host,
        "keys": {"expected": done.manifest.etcd["live_keys"], "found": done.keys, "same": done.keys_same},
        "objects": done.objects,
        "kinds": [{"kind": k.kind, "expected": k.expected, "found": k.found, "ok": k.ok} for k in done.kinds],
        "failed": list(done.failed),
        "recovery_point_seconds": round(done.age),
        "seconds": done.total,
        "steps": dict(done.seconds),
    }
