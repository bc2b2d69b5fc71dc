"""Kernel modules and sysctls: the file that sets them at boot, and what holds now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.core import Action, Change, Facts, KernelFeature, Kind, Probe, Shell, Sysctl
from mlops_infra.resources.file import File
from mlops_infra.resources.text import quote, transition

__all__ = ["KernelModules", "Sysctls"]

_HEADER = "# Written by mlops-infra; changes are overwritten.\n"

_FEATURES = {
    "overlay": "grep -qw overlay /proc/filesystems",
    "br_netfilter": "[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]",
    "nf_conntrack": "[ -e /proc/sys/net/netfilter/nf_conntrack_max ]",
}
"""How the feature of a module shows when it is built in and `modprobe` therefore finds no file (domain.md 1.2)."""


@dataclass(frozen=True, slots=True)
class KernelModules:
    """Modules loaded now and at boot. A feature built into the kernel is as good as a loaded module."""

    modules: tuple[str, ...]
    path: str = "/etc/modules-load.d/mlops-infra.conf"

    @property
    def id(self) -> str:
        return f"kernel-modules:{self.path}"

    @property
    def title(self) -> str:
        return "kernel modules"

    @property
    def _file(self) -> File:
        return File(self.path, _HEADER + "".join(f"{m}\n" for m in self.modules))

    def probes(self) -> frozenset[Probe[Any]]:
        return self._file.probes() | frozenset(KernelFeature(m) for m in self.modules)

    def diff(self, facts: Facts) -> Change | None:
        file = self._file.diff(facts)
        missing = [m for m in self.modules if facts.value(KernelFeature(m)) is not True]
        if not file and not missing:
            return None
        actions: list[Action] = list(file.actions) if file else []
        if missing:
            actions.append(Shell(f"load {', '.join(missing)}", "".join(_load(m) for m in missing)))
        reasons = [f"{', '.join(missing)} not loaded"] if missing else []
        reasons += [f"file {self.path}: {file.reason}"] if file else []
        diff = [transition(m, "not loaded", "loaded") for m in missing] + ([file.diff] if file and file.diff else [])
        return Change(
            self.id, self.title, Kind.UPDATE, "; ".join(reasons), tuple(actions), "\n".join(diff),
            wants=file.wants if file else frozenset(),
        )  # fmt: skip


def _load(module: str) -> str:
    name = quote(module)
    sign = _FEATURES.get(module, f"[ -d /sys/module/{quote(module.replace('-', '_'))} ]")
    return (
        f"modprobe {name} || {sign} || {{\n"
        f'  echo "neither a module nor a built-in feature: "{name}" (kernel $(uname -r))"\n  exit 1\n}}\n'
    )


@dataclass(frozen=True, slots=True)
class Sysctls:
    """Kernel settings, dotted keys, now and at boot. Keys in `skip` are neither written nor looked at."""

    values: Mapping[str, str]
    skip: tuple[str, ...] = ()
    path: str = "/etc/sysctl.d/90-mlops-infra.conf"

    @property
    def id(self) -> str:
        return f"sysctls:{self.path}"

    @property
    def title(self) -> str:
        return "kernel settings (sysctl)"

    @property
    def wanted(self) -> dict[str, str]:
        return {k: _folded(v) for k, v in sorted(self.values.items()) if k not in self.skip}

    @property
    def _file(self) -> File:
        return File(self.path, _HEADER + "".join(f"{k} = {v}\n" for k, v in self.wanted.items()))

    def probes(self) -> frozenset[Probe[Any]]:
        return self._file.probes() | frozenset(Sysctl(k) for k in self.wanted)

    def diff(self, facts: Facts) -> Change | None:
        file = self._file.diff(facts)
        running = {k: facts.value(Sysctl(k)) for k in self.wanted}
        wrong = {k: v for k, v in self.wanted.items() if running[k] is None or _folded(running[k] or "") != v}
        if not file and not wrong:
            return None
        actions: list[Action] = list(file.actions) if file else []
        if wrong:
            actions.append(Shell("set kernel settings", "".join(_set(k, v) for k, v in wrong.items())))
        reasons = [f"{', '.join(wrong)} differ{'s' if len(wrong) == 1 else ''}"] if wrong else []
        reasons += [f"file {self.path}: {file.reason}"] if file else []
        lines = [transition(k, running[k] if running[k] is not None else "(none)", v) for k, v in wrong.items()]
        lines += [file.diff] if file and file.diff else []
        return Change(
            self.id, self.title, Kind.UPDATE, "; ".join(reasons), tuple(actions), "\n".join(lines),
            wants=file.wants if file else frozenset(),
        )  # fmt: skip


def _folded(value: str) -> str:
    return " ".join(str(value).split())


def _set(key: str, value: str) -> str:
    # By /proc and not by sysctl(8), which minimal images lack. Dots in names that hold slashes are not separators.
    path = "/proc/sys/" + (key if "/" in key else key.replace(".", "/"))
    unknown = quote(f"{key}: this kernel has no such setting (module not loaded?)")
    return f"[ -e {quote(path)} ] || {{ echo {unknown}; exit 1; }}\nprintf '%s\\n' {quote(value)} >{quote(path)}\n"
