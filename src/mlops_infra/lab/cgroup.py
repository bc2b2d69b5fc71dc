"""The hosts' cgroups: how a host is put in, frozen, killed at once and found again after a crash.

On cgroup v1 (and hybrid) a host has a directory in every hierarchy. On v2 it has one in the only tree; where systemd
rules that tree, below a unit with Delegate=yes, as systemd asks of everybody. v1 is the tested path.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.lab.errors import LabError
from mlops_infra.lab.paths import CGROUP
from mlops_infra.lab.shell import run, succeeds

__all__ = ["Hierarchies", "Tally", "discover"]

_ROOT = Path("/sys/fs/cgroup")
_ROUNDS = 25
_PAUSE = 0.1
_UNIT = f"{CGROUP}.service"
_HOLDER = "@holder"
_HOLD = """\
own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
mkdir "$own/@holder" && echo 0 > "$own/@holder/cgroup.procs" && exec sleep infinity
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a kill left behind; both are empty when all went well."""

    processes: tuple[int, ...] = ()
    directories: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The mounted cgroup hierarchies. `unified` is True when there is one tree (v2) and nothing else; `delegated` when
    that tree is systemd's."""

    roots: tuple[Path, ...]
    unified: bool
    delegated: bool = False

    def base(self, root: Path) -> Path:
        """The lab's own directory in a hierarchy."""
        return root / "system.slice" / _UNIT if self.delegated else root / CGROUP

    def directories(self, name: str) -> tuple[Path, ...]:
        return tuple(self.base(root) / name for root in self.roots)

    def names(self) -> tuple[str, ...]:
        """Hosts (and the mirror) that have a directory in any hierarchy, running or not."""
        found = {p.name for root in self.roots for p in self.base(root).glob("*") if p.is_dir()}
        return tuple(sorted(found - {_HOLDER}))

    def create(self, name: str) -> tuple[Path, ...]:
        """The host's own directories, ready to be entered by writing to `cgroup.procs`."""
        for root in self.roots:
            parent = self.base(root)
            if self.delegated:
                _hold_unit(parent)
            (parent / name).mkdir(parents=True, exist_ok=True)
            if self.unified:
                _hand_down(*([] if self.delegated else [root]), parent)
            elif (
                root / "cpuset.cpus"
            ).exists():  # empty in a new directory, and no process may enter before they are set
                for file in ("cpuset.cpus", "cpuset.mems"):
                    value = (root / file).read_text()
                    (parent / file).write_text(value)
                    (parent / name / file).write_text(value)
        return self.directories(name)

    def processes(self, name: str) -> tuple[int, ...]:
        """Every process of a host, in any of its cgroups, by this machine's process ids."""
        found: set[int] = set()
        for directory in self.directories(name):
            for place, _, _ in os.walk(directory):  # unlike rglob it minds no directory that goes away meanwhile
                with contextlib.suppress(OSError):
                    found.update(int(word) for word in (Path(place) / "cgroup.procs").read_text().split())
        found.discard(0)
        return tuple(sorted(found))

    def adopt(self, name: str, pids: tuple[int, ...]) -> None:
        """Put processes into a directory of their own, so that `lab down` finds them even without a state file."""
        for directory in self.create(name):
            for pid in pids:
                (directory / "cgroup.procs").write_text(str(pid))

    def kill(self, name: str) -> Tally:
        """SIGKILL to every process of a host, and its cgroup directories removed: what a power cut does.

        Directories left behind would cost the next boot 90 s: cAdvisor asks containerd for containers that are no more.
        """
        with contextlib.suppress(OSError, LabError):  # it may end by itself meanwhile
            self.freeze(name, frozen=False)  # a frozen process does not die on cgroup v1
        for _ in range(_ROUNDS):
            pids = self.processes(name)
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            left = self._remove(name)
            if not pids and not left:
                return Tally()
            time.sleep(_PAUSE)
        return Tally(self.processes(name), self._remove(name))

    def _remove(self, name: str) -> tuple[Path, ...]:
        left = []
        for directory in self.directories(name):
            if not directory.is_dir():
                continue
            for path, _, _ in os.walk(directory, topdown=False):
                try:
                    Path(path).rmdir()
                except OSError:
                    continue
            if directory.is_dir():
                left.append(directory)
        return tuple(left)

    def remove_parents(self) -> tuple[Path, ...]:
        """Remove the lab's own directories, once no host is in them. Those that could not be removed."""
        left = []
        for base in map(self.base, self.roots):
            if self.delegated and base.exists():
                succeeds(["systemctl", "stop", _UNIT])
            try:
                base.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left.append(base)
        return tuple(left)

    def _freezer(self, name: str) -> Path | None:
        for directory in self.directories(name):
            for file in ("freezer.state", "cgroup.freeze"):
                if self.unified == (file == "cgroup.freeze") and (directory / file).exists():
                    return directory / file
        return None

    def freeze(self, name: str, *, frozen: bool) -> bool:
        """Freeze or thaw all processes of a host; False when the host has no freezer to use."""
        file = self._freezer(name)
        if file is None:
            return False
        word = ("FROZEN" if frozen else "THAWED") if not self.unified else str(int(frozen))
        file.write_text(word)
        for _ in range(_ROUNDS):
            if self.is_frozen(name) == frozen:
                return True
            time.sleep(_PAUSE)
        raise LabError(f"{name} could not be {'frozen' if frozen else 'thawed'} within {_ROUNDS * _PAUSE:g} s")

    def is_frozen(self, name: str) -> bool:
        file = self._freezer(name)
        if file is None:
            return False
        try:
            if not self.unified:
                return file.read_text().strip() != "THAWED"
            return "frozen 1" in (file.parent / "cgroup.events").read_text()
        except OSError:  # its cgroup went away meanwhile
            return False

    def memory(self, name: str) -> int | None:
        """Bytes that a host uses, page cache that can be dropped left out; None when the kernel does not say."""
        for directory in self.directories(name):
            usage = directory / ("memory.current" if self.unified else "memory.usage_in_bytes")
            try:
                total = int(usage.read_text())
                statistics = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
            except OSError:  # another hierarchy's directory, or one that went away
                continue
            return max(0, total - int(statistics.get("inactive_file" if self.unified else "total_inactive_file", "0")))
        return None


def _hand_down(*directories: Path) -> None:
    """cgroup v2: a controller reaches a directory only through `cgroup.subtree_control` of every one above it."""
    for directory in directories:
        for controller in (directory / "cgroup.controllers").read_text().split():
            try:
                (directory / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError:  # one that the machine keeps for itself
                continue


def _hold_unit(base: Path) -> None:
    """The lab's delegated unit, running: one sleeping process in a leaf of it, so that the rest of the tree is ours."""
    if base.is_dir():
        return
    run(
        ["systemd-run", "--quiet", f"--unit={_UNIT}", "-p", "Delegate=yes", "-p", "KillMode=process", "sh", "-c", _HOLD]
    )
    for _ in range(_ROUNDS * 2):
        if (base / _HOLDER).is_dir():
            return
        time.sleep(_PAUSE)
    raise LabError("systemd gave the lab no cgroups of its own", remedy=f"systemctl status {_UNIT}")


def discover(mounts: str | None = None, *, systemd: bool | None = None) -> Hierarchies:
    """The hierarchies of this machine, from /proc/mounts; `systemd` says whether it is PID 1 (None: look).

    Raises LabError when none is mounted.
    """
    text = Path("/proc/mounts").read_text() if mounts is None else mounts
    v1, v2 = [], []
    for line in text.splitlines():
        _, where, kind, *_ = line.split()
        if not Path(where).is_relative_to(_ROOT):
            continue
        if kind == "cgroup":
            v1.append(Path(where))
        elif kind == "cgroup2":
            v2.append(Path(where))
    if not v1 and not v2:
        raise LabError("no cgroup hierarchy is mounted below /sys/fs/cgroup", remedy="mount cgroup2 there")
    ruled = Path("/run/systemd/system").is_dir() if systemd is None else systemd
    return Hierarchies(tuple(v1 + v2), unified=not v1, delegated=not v1 and ruled)
