"""Faults that are real, and their healing: a power cut, a pulled cable, a full disk, a frozen machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from mlops_infra.core import Emit, Event, EventKind
from mlops_infra.lab import disk, host, lifecycle, network, state
from mlops_infra.lab.cgroup import Hierarchies, discover
from mlops_infra.lab.errors import LabError
from mlops_infra.lab.host import Power
from mlops_infra.lab.status import current
from mlops_infra.lab.twin import TwinHost

__all__ = ["Fault", "fail", "heal"]


class Fault(StrEnum):
    """What can be done to a host."""

    POWER = "power"
    """Every process dies at once; the disk keeps what was on it."""
    CABLE = "cable"
    """The host runs on, its interface has no carrier."""
    DISK_FULL = "disk-full"
    """Every write to the host's disk fails with ENOSPC: the root file system and /var/lib alike."""
    FREEZE = "freeze"
    """The host stands still and answers nothing, its connections stay open: a hung hypervisor or kernel."""


def fail(fault: Fault, names: Sequence[str], config: Path | None, emit: Emit) -> None:
    """Bring a fault upon hosts. Raises LabError for an unknown host, or when the fault cannot be had."""
    with state.locked():
        lab = current(config)
        hierarchies = discover()
        for one in [lab.twin.host(name) for name in names]:
            _strike(fault, one, hierarchies)
            emit(Event(time.time(), EventKind.NOTE, host=one.name, text=_WORDS[fault]))


_WORDS = {
    Fault.POWER: "power cut",
    Fault.CABLE: "cable pulled",
    Fault.DISK_FULL: "disk full",
    Fault.FREEZE: "frozen",
}


def _strike(fault: Fault, one: TwinHost, hierarchies: Hierarchies) -> None:
    running = host.leader(one.name, hierarchies) is not None
    if fault is Fault.POWER:
        tally = host.cut_power(one.name, hierarchies)
        if tally.processes:
            raise LabError(f"processes of it did not die: {tally.processes}", host=one.name)
    elif fault is Fault.CABLE:
        network.set_cable(one, plugged=False)
    elif fault is Fault.DISK_FULL:
        disk.fill(one.name)
    elif not running or not hierarchies.freeze(one.name, frozen=True):
        cause = "it is off" if not running else "this machine has no freezer cgroup"
        raise LabError("it cannot be frozen", host=one.name, cause=cause)


def heal(names: Sequence[str], config: Path | None, emit: Emit) -> None:
    """Undo every fault of the hosts (all of them when none is named): space, cable, freezer, and last power.

    A host that was off boots with its disk as it was; returns when all are up. Raises LabError when one is not.
    """
    with state.locked():
        lab = current(config)
        hierarchies = discover()
        chosen = [lab.twin.host(name) for name in names] or list(lab.twin.hosts)
        for one in chosen:
            for text in _mend(one, hierarchies):
                emit(Event(time.time(), EventKind.NOTE, host=one.name, text=text))
        lifecycle.power_on(
            [one for one in chosen if host.leader(one.name, hierarchies) is None], lab, hierarchies, emit
        )


def _mend(one: TwinHost, hierarchies: Hierarchies) -> list[str]:
    done = []
    if disk.is_full(one.name):
        disk.free(one.name)
        done.append("disk has space again")
    if not network.cable_is_up(one) and network.namespace_exists(one.namespace):
        network.set_cable(one, plugged=True)
        done.append("cable plugged in")
    if host.status(one, hierarchies).power is Power.FROZEN:
        hierarchies.freeze(one.name, frozen=False)
        done.append("thawed")
    return done
