"""Swap off for good: now, in fstab, and in the places from which systemd would turn it on again (domain.md 1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops_infra.core import (
    Action,
    Change,
    Facts,
    Kind,
    Probe,
    PutFile,
    ReadText,
    Shell,
    Stat,
    Swaps,
    Unit,
    UnitFact,
)
from mlops_infra.resources.text import transition, unified

__all__ = ["SwapOff"]

_FSTAB = "/etc/fstab"
_ZRAM_GENERATOR = "/usr/lib/systemd/system-generators/zram-generator"
_ZRAM_CONF = "/etc/systemd/zram-generator.conf"
_ZRAM_OFF = "# No devices: swap is off on Kubernetes nodes. Written by mlops-infra.\n"
_MASKED = ("swap.target", "zramswap.service")


@dataclass(frozen=True, slots=True)
class SwapOff:
    """No swap in use, none at the next boot: fstab lines whose third field is `swap` are commented out, swap.target
    is masked (it pulls in GPT partitions and .swap units too), zram devices are not made."""

    @property
    def id(self) -> str:
        return "swap"

    @property
    def title(self) -> str:
        return "swap off"

    def probes(self) -> frozenset[Probe[Any]]:
        files: set[Probe[Any]] = {ReadText(_FSTAB), Stat(_FSTAB), Stat(_ZRAM_GENERATOR), ReadText(_ZRAM_CONF)}
        units: set[Probe[Any]] = {Unit(name) for name in _MASKED}
        return frozenset({Swaps(), *files, *units})

    def diff(self, facts: Facts) -> Change | None:
        reasons: list[str] = []
        lines: list[str] = []
        actions: list[Action] = []
        self._fstab(facts, reasons, lines, actions)
        self._zram(facts, reasons, lines, actions)
        self._units(facts, reasons, lines, actions)
        if areas := facts.value(Swaps()):
            reasons.append("in use")
            lines.append(transition("swap", ", ".join(areas), "none"))
            actions.append(Shell("swapoff", "swapoff -a\n", deadline=600))
        if not actions:
            return None
        return Change(self.id, self.title, Kind.UPDATE, ", ".join(reasons), tuple(actions), "\n".join(lines))

    def _fstab(self, facts: Facts, reasons: list[str], lines: list[str], actions: list[Action]) -> None:
        old = facts.value(ReadText(_FSTAB))
        if old is None or (new := without_swap(old)) == old:
            return
        stat = facts.value(Stat(_FSTAB))
        mode, owner, group = (stat.mode, stat.owner, stat.group) if stat else (0o644, "root", "root")
        reasons.append("named in /etc/fstab")
        lines.append(unified(old.splitlines(keepends=True), new.splitlines(keepends=True), _FSTAB))
        actions.append(PutFile(_FSTAB, new.encode("utf-8", "surrogateescape"), mode, owner, group))

    def _zram(self, facts: Facts, reasons: list[str], lines: list[str], actions: list[Action]) -> None:
        if facts.value(Stat(_ZRAM_GENERATOR)) is None:
            return
        if facts.value(ReadText(_ZRAM_CONF)) != _ZRAM_OFF:
            reasons.append("zram-generator makes devices")
            lines.append(transition(_ZRAM_CONF, "devices", "none"))
            actions.append(PutFile(_ZRAM_CONF, _ZRAM_OFF.encode()))

    def _units(self, facts: Facts, reasons: list[str], lines: list[str], actions: list[Action]) -> None:
        units = {name: facts.value(Unit(name)) for name in _MASKED}
        wrong = [n for n, u in units.items() if isinstance(u, UnitFact) and u.enabled != "masked"]
        if wrong:
            reasons.append(f"{', '.join(wrong)} not masked")
            lines += [transition(n, "not masked", "masked") for n in wrong]
            stop = "".join(f"systemctl stop {n} || :\n" for n in wrong if n.endswith(".service"))
            actions.append(Shell("mask swap units", f"{stop}systemctl -q mask {' '.join(wrong)}\n"))


def without_swap(fstab: str) -> str:
    """fstab with its active swap lines commented out, byte for byte the same elsewhere."""
    out = []
    for line in fstab.splitlines(keepends=True):
        fields = line.split()
        is_swap = len(fields) >= 3 and not fields[0].startswith("#") and fields[2] == "swap"
        out.append(f"# mlops-infra: {line}" if is_swap else line)
    return "".join(out)
