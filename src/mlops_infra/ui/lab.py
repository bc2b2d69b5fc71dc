"""How the lab is shown: a line of progress as it happens, and a table of its hosts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TextIO

from mlops_infra.core import Emit, Event
from mlops_infra.lab.host import HostStatus, Power
from mlops_infra.lab.status import LabStatus
from mlops_infra.ui.console import Style, style_for

__all__ = ["is_well", "progress", "show_status", "table"]

_RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13"}


def progress(out: TextIO | None = None) -> Emit:
    """Writes each event as a line on standard error, with the seconds since the first."""
    stream = out or sys.stderr
    style = style_for(stream)
    began: list[float] = []

    def emit(event: Event) -> None:
        began.append(event.at)
        where = f"{event.host}: " if event.host else ""
        stream.write(f"{style.dim(f'{event.at - began[0]:6.1f} s')}  {style.strong(where)}{event.text}\n")
        stream.flush()

    return emit


def is_well(status: LabStatus) -> bool:
    """Whether every host runs, is plugged in, has room, and its systemd is content."""
    return all(_trouble(host) == "" for host in status.hosts)


def _trouble(host: HostStatus) -> str:
    if host.power is not Power.RUNNING:
        return "power cut" if host.power is Power.CUT else host.power.value
    told = [] if host.cable else ["cable pulled"]
    told += ["disk full"] if host.disk_full else []
    told += [] if host.system == "running" else [host.system or "no answer"]
    return ", ".join(told)


def show_status(status: LabStatus, *, as_json: bool, out: TextIO | None = None) -> None:
    stream = out or sys.stdout
    if as_json:
        stream.write(json.dumps(status.as_data(), indent=2) + "\n")
        return
    style = style_for(stream)
    mirror = style.good("serving") if status.mirror else style.warn("not running")
    stream.write(f"The lab of {status.config} ({status.name}); bridge {status.bridge}, mirror {mirror}\n")
    stream.write(table(status, style))


def table(status: LabStatus, style: Style) -> str:
    """One line per host, columns aligned."""
    heads = ("HOST", "ADDRESS", "SYSTEM", "STATE", "MEMORY", "UPTIME")
    rows = [heads, *(_row(host) for host in status.hosts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if number == 0:
            lines.append(style.dim("  ".join(cells).rstrip()))
            continue
        paint: Callable[[str], str] = style.good if row[3] == "running" else style.bad
        cells[3] = paint(cells[3])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _row(host: HostStatus) -> tuple[str, ...]:
    memory = "" if host.memory is None else f"{host.memory / (1 << 20):.0f} MiB"
    uptime = "" if host.uptime is None else _duration(host.uptime)
    release = _RELEASES.get(host.codename, host.codename)
    return (host.name, host.address, release, _trouble(host) or "running", memory, uptime)


def _duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
