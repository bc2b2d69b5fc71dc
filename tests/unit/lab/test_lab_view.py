"""How the lab is shown."""

from __future__ import annotations

import io
import json
from pathlib import Path

from mlops_infra.core import Event, EventKind
from mlops_infra.lab.host import HostStatus, Power
from mlops_infra.lab.status import LabStatus
from mlops_infra.ui.lab import is_well, progress, show_status

GOOD = HostStatus("m1", "10.7.0.22", "trixie", Power.RUNNING, "running", memory=200 << 20, uptime=75.0, pid=9)


def lab(*hosts: HostStatus) -> LabStatus:
    return LabStatus("demo", Path("/srv/cluster.yaml"), "10.7.0.1", mirror=True, hosts=hosts)


def text_of(status: LabStatus) -> str:
    out = io.StringIO()
    show_status(status, as_json=False, out=out)
    return out.getvalue()


def test_a_well_host_is_one_line_with_its_release_memory_and_uptime() -> None:
    assert "m1    10.7.0.22  Debian 13  running  200 MiB  1 min 15 s\n" in text_of(lab(GOOD))
    assert is_well(lab(GOOD))


def test_each_trouble_has_its_word() -> None:
    cases = {
        "power cut": HostStatus("a", "1", "bookworm", Power.CUT),
        "off": HostStatus("b", "2", "trixie", Power.OFF),
        "frozen": HostStatus("c", "3", "trixie", Power.FROZEN),
        "cable pulled, disk full": HostStatus("d", "4", "x", Power.RUNNING, "running", cable=False, disk_full=True),
        "degraded": HostStatus("e", "5", "trixie", Power.RUNNING, "degraded"),
        "no answer": HostStatus("f", "6", "trixie", Power.RUNNING, ""),
    }
    for words, host in cases.items():
        assert f"  {words}" in text_of(lab(host))
        assert not is_well(lab(GOOD, host))


def test_the_json_holds_every_field_of_a_host() -> None:
    out = io.StringIO()
    show_status(lab(GOOD), as_json=True, out=out)
    data = json.loads(out.getvalue())
    assert data["config"] == "/srv/cluster.yaml"
    assert data["mirror"] is True
    assert data["hosts"][0] == {
        "name": "m1",
        "address": "10.7.0.22",
        "codename": "trixie",
        "power": "running",
        "system": "running",
        "cable": True,
        "disk_full": False,
        "memory": 209715200,
        "uptime": 75.0,
        "pid": 9,
    }


def test_progress_counts_seconds_from_its_first_line() -> None:
    out = io.StringIO()
    emit = progress(out)
    emit(Event(100.0, EventKind.NOTE, host="m1", text="powered on"))
    emit(Event(101.25, EventKind.NOTE, text="done"))
    assert out.getvalue() == "   0.0 s  m1: powered on\n   1.2 s  done\n"
