"""The commands of the lab: up, status, faults, heal, reset, down. Progress goes to an `emit`, nothing is printed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from mlops_infra.core import Emit, Event, EventKind
from mlops_infra.lab import disk, host, keys, machine, network, state
from mlops_infra.lab.cgroup import Hierarchies, discover
from mlops_infra.lab.errors import LabError
from mlops_infra.lab.host import HostStatus
from mlops_infra.lab.overlay import make_overlay
from mlops_infra.lab.paths import HOSTS, STATE
from mlops_infra.lab.requirements import install_missing, need_programs, need_root
from mlops_infra.lab.rootfs import ensure_rootfs
from mlops_infra.lab.state import LabState
from mlops_infra.lab.twin import Twin, TwinHost, make_twin
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.site import Site

__all__ = ["LabStatus", "current", "down", "statuses", "up"]

_STAGGER = 0.5  # seconds; several containers that start at once race on the bridge and the cgroups
_BOOT_DEADLINE = 120.0
_READY = ("running", "degraded")


@dataclass(frozen=True, slots=True)
class LabStatus:
    name: str
    config: Path
    bridge: str
    mirror: bool
    hosts: tuple[HostStatus, ...]


def _note(emit: Emit, text: str, name: str = "") -> None:
    emit(Event(time.time(), EventKind.NOTE, host=name, text=text))


def current() -> LabState:
    """The lab that is up. Raises LabError when there is none."""
    need_root()
    found = state.load()
    if found is None:
        raise LabError("there is no lab on this machine", remedy="mlops-infra lab up")
    return found


def up(
    cluster: Cluster,
    config: Path,
    emit: Emit,
    *,
    debian12: Sequence[str] | None = None,
    install: bool = False,
) -> LabState:
    """Boot the twin of a cluster, or what is missing of it. Hosts that were added to cluster.yaml since are booted too.

    Raises LabError when the lab of another cluster.yaml is up, a program is missing, or a host does not come up.
    """
    need_root()
    if install:
        install_missing(lambda text: _note(emit, text))
    need_programs()
    config = config.resolve()
    with state.locked():
        lab = _merge(_ours(config), cluster, config, debian12)
        site = Site(config, lab=True)
        public = keys.ensure_identity(site.directory).with_suffix(".pub").read_text()
        for codename in sorted({h.codename for h in lab.twin.hosts}):
            ensure_rootfs(codename, lambda text: _note(emit, text))
        state.save(lab)
        machine.raise_limits()
        network.ensure_bridge(lab.twin)
        keys.write_known_hosts(site.known_hosts, lab.twin.hosts)
        write_overlay(cluster, lab.twin, site.overlay)
        hierarchies = discover()
        missing = [h for h in lab.twin.hosts if host.leader(h.name, hierarchies) is None]
        _boot_all(missing, public, hierarchies, emit)
    return lab


def _ours(config: Path) -> LabState | None:
    found = state.load()
    if found is None and network.namespace_exists():
        raise LabError(
            "parts of a lab are on this machine, but nothing says of which cluster",
            cause="its state file is lost, or something else made the network namespace lab-net",
            remedy="mlops-infra lab down",
        )
    if found is not None and found.config != config:
        raise LabError(
            f"the lab of {found.config} is up, and there can be one lab at a time",
            remedy=f"mlops-infra -c {found.config} lab down",
        )
    return found


def _merge(found: LabState | None, cluster: Cluster, config: Path, debian12: Sequence[str] | None) -> LabState:
    """The lab that is to be. A host that runs keeps its release; one that left cluster.yaml stays until `down`."""
    chosen = debian12 if debian12 is not None else (found.debian12 if found else None)
    twin = make_twin(cluster, debian12=chosen)
    if found is None:
        return LabState(config, twin, None if chosen is None else tuple(chosen))
    old = {h.name: h for h in found.twin.hosts}
    for new in twin.hosts:
        before = old.get(new.name)
        if before is not None and before.addresses != new.addresses:
            raise LabError(
                f"{new.name} has another address in cluster.yaml than in the lab that is up",
                host=new.name,
                cause=f"{', '.join(before.addresses)} there, {', '.join(new.addresses)} in the file",
                remedy="mlops-infra lab down, then mlops-infra lab up",
            )
    kept = tuple(old.get(h.name, h) for h in twin.hosts)
    gone = tuple(h for h in found.twin.hosts if h.name not in {n.name for n in twin.hosts})
    bridge = tuple(dict.fromkeys((*found.twin.bridge, *twin.bridge)))
    merged = Twin(twin.name, bridge, kept + gone)
    return LabState(config, merged, None if chosen is None else tuple(chosen), found.mirror)


def write_overlay(cluster: Cluster, twin: Twin, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    with path.open("w") as file:
        file.write("# Written by `mlops-infra lab up`, read by every command with --lab; changes are lost.\n")
        yaml.dump(make_overlay(cluster, twin), file)


def _boot_all(hosts: Sequence[TwinHost], public: str, hierarchies: Hierarchies, emit: Emit) -> None:
    """Prepare and start hosts a short while apart, then wait for all of them."""
    for number, one in enumerate(hosts):
        if number:
            time.sleep(_STAGGER)
        hierarchies.kill(one.name)  # what a crash may have left
        host.prepare(one, public)
        host.boot(one, hierarchies)
        _note(emit, "powered on", one.name)
    if not hosts:
        return
    deadline = time.monotonic() + _BOOT_DEADLINE
    with ThreadPoolExecutor(len(hosts)) as pool:
        problems = [p for p in pool.map(lambda one: _await(one, hierarchies, deadline, emit), hosts) if p]
    if problems:
        raise LabError(f"{len(problems)} of {len(hosts)} hosts did not come up", details="\n".join(problems))


def _await(one: TwinHost, hierarchies: Hierarchies, deadline: float, emit: Emit) -> str:
    """Wait until systemd is done and sshd answers; an empty text when all is well, else what is wrong."""
    began, word = time.monotonic(), ""
    while time.monotonic() < deadline:
        pid = host.leader(one.name, hierarchies)
        if pid is None and time.monotonic() - began > 5 and not hierarchies.processes(one.name):
            return f"{one.name}: its container ended\n{host.console(one.name)}"
        word = host.system_state(pid) if pid else ""
        if word in _READY and machine.answers(one.address, one.ssh_port):
            _note(emit, f"{word} after {time.monotonic() - began:.0f} s", one.name)
            return ""
        time.sleep(0.3)
    return f"{one.name}: {word or 'no answer from systemd'} after {_BOOT_DEADLINE:g} s\n{host.console(one.name)}"


def statuses() -> LabStatus:
    """How the lab and its hosts stand. Raises LabError when there is no lab."""
    lab = current()
    hierarchies = discover()
    with ThreadPoolExecutor(max(1, len(lab.twin.hosts))) as pool:
        hosts = tuple(pool.map(lambda one: host.status(one, hierarchies), lab.twin.hosts))
    return LabStatus(lab.twin.name, lab.config, lab.twin.bridge_address, bool(lab.mirror), hosts)


def down(emit: Emit) -> tuple[str, ...]:
    """Take the lab away: no process, mount, namespace, cgroup or link of it stays. What could not be removed, in words.

    It goes by what is found on the machine, not by the state file, so it works after a crash, twice, and with the file
    lost. The files in `.mlops-infra/lab/` and the cached root file systems stay.
    """
    need_root()
    with state.locked():
        hierarchies = discover()
        directories = {path.name for path in HOSTS.glob("*")} if HOSTS.is_dir() else set()
        names = sorted({*hierarchies.names(), *directories})
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            left = [text for found in pool.map(lambda name: _remove(name, hierarchies), names) for text in found]
        for name in names:
            _note(emit, "removed", name)
        left += [f"network namespace {name}" for name in network.namespaces() if not network.disconnect(name)]
        left += [f"cgroup {path}" for path in hierarchies.remove_parents()]
        if not left:
            shutil.rmtree(STATE, ignore_errors=True)
            if STATE.exists():
                left.append(f"directory {STATE}")
    return tuple(left)


def _remove(name: str, hierarchies: Hierarchies) -> list[str]:
    tally = hierarchies.kill(name)
    left = [f"process {pid} of {name}" for pid in tally.processes]
    left += [f"cgroup {path}" for path in tally.directories]
    left += [f"mount {path}" for path in disk.unmount(name)]
    if not left and not disk.destroy(name):
        left.append(f"directory of {name} below {HOSTS}")
    return left
