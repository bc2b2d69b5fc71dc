"""How hosts, their answers and their keys are shown, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mlops_infra.app.hosts import KeyState, Pinged, Ran, Shown
from mlops_infra.errors import InfraError
from mlops_infra.transport import Target
from mlops_infra.ui.console import Style
from mlops_infra.ui.errors import as_json, compose

__all__ = ["keys_shape", "keys_text", "list_shape", "list_text", "ping_shape", "ping_text", "ran_shape", "ran_text"]


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart."""
    found = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in found) for i in range(len(found[0]))] if found else []
    return "\n".join("  ".join(word.ljust(w) for word, w in zip(row, widths, strict=True)).rstrip() for row in found)


def place(target: Target) -> str:
    through = f" through {target.bastion.user}@{target.bastion.address}" if target.bastion else ""
    return f"{target.user}@{target.address}:{target.port}{through}"


def list_text(hosts: Iterable[tuple[Target, str]]) -> str:
    return columns([name, role, place(t)] for t, role in hosts for name in [t.name])


def list_shape(hosts: Iterable[tuple[Target, str]]) -> dict[str, Any]:
    return {
        "hosts": [
            {"name": t.name, "role": role, "address": t.address, "port": t.port, "user": t.user, "sudo": t.sudo}
            for t, role in hosts
        ]
    }


def ping_text(found: Sequence[Pinged], style: Style) -> str:
    """A line a host, then each problem once with the hosts that have it."""
    rows = [
        [
            p.target.name,
            place(p.target),
            *(["ok", p.way, f"{p.round_trip_ms:.0f} ms"] if not p.problem else ["-", "", ""]),
        ]
        for p in found
    ]
    lines = columns(rows).splitlines()
    marked = [style.good(line) if not p.problem else style.bad(line) for line, p in zip(lines, found, strict=True)]
    return "\n".join([*marked, *_problems([p.problem for p in found], style)])


def ping_shape(found: Sequence[Pinged]) -> dict[str, Any]:
    return {
        "hosts": [
            {
                "name": p.target.name,
                "ok": p.problem is None,
                **(
                    {"way": p.way, "connect_ms": round(p.connect_ms, 1), "round_trip_ms": round(p.round_trip_ms, 1)}
                    if p.problem is None
                    else as_json(p.problem)
                ),
            }
            for p in found
        ]
    }


def keys_text(found: Sequence[Shown], style: Style) -> str:
    """Fingerprints as `ssh-keygen -lf` prints them, for comparison at the machine itself."""
    rows = [
        [s.target.name, str(s.state), s.key.kind if s.key else "", s.key.fingerprint if s.key else ""] for s in found
    ]
    return "\n".join([columns(rows), *_problems([s.problem for s in found], style)])


def keys_shape(found: Sequence[Shown]) -> dict[str, Any]:
    return {
        "hosts": [
            {
                "name": s.target.name,
                "state": str(s.state),
                **({"type": s.key.kind, "fingerprint": s.key.fingerprint} if s.key else {}),
                **({"expected": s.expected} if s.state is KeyState.CHANGED else {}),
                **(as_json(s.problem) if s.problem else {}),
            }
            for s in found
        ]
    }


def ran_text(found: Sequence[Ran], style: Style) -> str:
    """What was not shown while it ran: stderr, exit codes that are not 0, hosts that could not be reached."""
    lines = []
    for ran in found:
        if ran.reply is not None:
            lines += [f"{style.dim(ran.target.name + ' |')} {line}" for line in ran.reply.stderr.splitlines()]
            if ran.reply.rc:
                lines.append(style.bad(f"{ran.target.name}: exit code {ran.reply.rc}"))
    return "\n".join([*lines, *_problems([r.problem for r in found], style)])


def ran_shape(found: Sequence[Ran]) -> dict[str, Any]:
    return {
        "hosts": [
            {
                "name": r.target.name,
                **(
                    {"rc": r.reply.rc, "stdout": r.reply.stdout.decode("utf-8", "replace"), "stderr": r.reply.stderr}
                    if r.reply is not None
                    else {}
                ),
                **(as_json(r.problem) if r.problem else {}),
            }
            for r in found
        ]
    }


def _problems(found: Iterable[InfraError | None], style: Style) -> list[str]:
    texts = [compose(problem, style) for problem in found if problem is not None]
    return ["", *texts] if texts else []
