"""A lab from its beginning to its end: up, reset, down. Progress goes to an `emit`; nothing here prints."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ruamel.yaml import YAML

from mlops_infra.core import Emit, Event, EventKind
from mlops_infra.lab import disk, host, keys, machine, mirroring, network, state
from mlops_infra.lab.cgroup import Hierarchies, discover
from mlops_infra.lab.errors import LabError
from mlops_infra.lab.overlay import make_overlay
from mlops_infra.lab.paths import HOSTS, STATE
from mlops_infra.lab.requirements import install_missing, need_programs, need_root
from mlops_infra.lab.rootfs import ensure_rootfs
from mlops_infra.lab.state import LabState
from mlops_infra.lab.status import current, other_lab
from mlops_infra.lab.twin import Twin, TwinHost, make_twin
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.site import Site

__all__ = ["down", "power_on", "reset", "up"]

_STAGGER = 0.5  # seconds; several containers that start at once race on the bridge and the cgroups
_BOOT_DEADLINE = 120.0
_READY = ("running", "degraded")


def _note(emit: Emit, text: str, name: str = "") -> None:
    emit(Event(time.time(), EventKind.NOTE, host=name, text=text))


def up(
    cluster: Cluster,
    config: Path,
    emit: Emit,
    *,
    debian12: Sequence[str] | None = None,
    install: bool = False,
    mirror: bool = True,
) -> LabState:
    """Boot the twin of a cluster, or what is missing of it. Hosts that were added to cluster.yaml since are booted too.

    `debian12` names the hosts with the older release; None: the last worker. Hosts that are there keep theirs.
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
        keys.ensure_identity(site.directory)
        codenames = sorted({one.codename for one in lab.twin.hosts})
        with ThreadPoolExecutor(len(codenames)) as pool:
            list(pool.map(lambda codename: ensure_rootfs(codename, lambda text: _note(emit, text)), codenames))
        state.save(lab)
        machine.raise_limits()
        network.ensure_bridge(lab.twin)
        keys.write_known_hosts(site.known_hosts, lab.twin.hosts)
        _write_overlay(cluster, lab.twin, site.overlay)
        hierarchies = discover()
        power_on([one for one in lab.twin.hosts if host.leader(one.name, hierarchies) is None], lab, hierarchies, emit)
        if mirror:
            mirroring.serve(cluster, lab.twin, site.directory, hierarchies, emit)
    return lab


def _ours(config: Path) -> LabState | None:
    found = state.load()
    if found is None and network.namespace_exists():
        raise LabError(
            "parts of a lab are on this machine, but nothing says of which cluster",
            cause="its state file is lost, or something else made the network namespace of that name",
            remedy="mlops-infra lab down",
        )
    if found is not None and found.config != config:
        raise other_lab(found)
    return found


def _merge(found: LabState | None, cluster: Cluster, config: Path, debian12: Sequence[str] | None) -> LabState:
    """The lab that is to be. A host that is there keeps its release; one that left cluster.yaml stays until `down`."""
    before = {one.name: one for one in found.twin.hosts} if found else {}
    if found and debian12 is None:
        debian12 = [one.name for one in cluster.all_hosts if one.name in before and before[one.name].is_debian12]
    twin = make_twin(cluster, debian12=debian12)
    for one in twin.hosts:
        if one.name in before and before[one.name].addresses != one.addresses:
            raise LabError(
                "its address in cluster.yaml is not the one it has in the lab",
                host=one.name,
                cause=f"{', '.join(before[one.name].addresses)} in the lab, {', '.join(one.addresses)} in the file",
                remedy="mlops-infra lab down, then mlops-infra lab up",
            )
    kept = tuple(before.pop(one.name, one) for one in twin.hosts)
    bridge = tuple(dict.fromkeys((*(found.twin.bridge if found else ()), *twin.bridge)))
    merged = Twin(twin.name, bridge, kept + tuple(before.values()))
    return LabState(config, merged)


def _write_overlay(cluster: Cluster, twin: Twin, path: Path) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with path.open("w") as file:
        file.write("# Written by `mlops-infra lab up`, read by every command with --lab; changes are lost.\n")
        yaml.dump(make_overlay(cluster, twin, open_files=open_files), file)


def power_on(hosts: Sequence[TwinHost], lab: LabState, hierarchies: Hierarchies, emit: Emit) -> None:
    """Prepare and start hosts a short while apart, then wait until all are up. Raises LabError when one is not."""
    public = (Site(lab.config, lab=True).directory / "id_ed25519.pub").read_text()
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
        raise LabError(
            f"{len(problems)} of {len(hosts)} hosts did not come up",
            details="\n".join(problems),
            remedy="mlops-infra lab status, then mlops-infra lab reset HOST",
        )


def _await(one: TwinHost, hierarchies: Hierarchies, deadline: float, emit: Emit) -> str:
    """Wait until systemd is done and sshd answers; an empty text when all is well, else what is wrong."""
    began, word = time.monotonic(), ""
    while time.monotonic() < deadline:
        pid = host.leader(one.name, hierarchies)
        if pid is None and time.monotonic() - began > 5 and not hierarchies.processes(one.name):
            return f"{one.name}: its container ended\n{host.console(one.name)}"
        word = host.system_state(pid) if pid else ""
        if word in _READY and machine.answers(one.address, one.ssh_port):
            _note(emit, word, one.name)
            return ""
        time.sleep(0.3)
    return f"{one.name}: {word or 'no answer from systemd'} after {_BOOT_DEADLINE:g} s\n{host.console(one.name)}"


def reset(names: Sequence[str], config: Path | None, emit: Emit) -> None:
    """Bare hosts again, from the same root file systems: power cut, disk thrown away, booted. All when none is named.

    Host keys and addresses stay. Raises LabError when a disk cannot be thrown away or a host does not come up.
    """
    with state.locked():
        lab = current(config)
        hierarchies = discover()
        chosen = [lab.twin.host(name) for name in names] or list(lab.twin.hosts)
        with ThreadPoolExecutor(len(chosen)) as pool:
            left = [text for found in pool.map(lambda one: _remove(one.name, hierarchies), chosen) for text in found]
        if left:
            raise LabError("not everything of the hosts could be removed", details="\n".join(left))
        for one in chosen:
            network.disconnect(one.namespace)  # and with it what routes, rules and links the host had
        power_on(chosen, lab, hierarchies, emit)


def down(config: Path | None, emit: Emit) -> tuple[str, ...]:
    """Take the lab away: no process, mount, namespace, cgroup or link of it stays. What could not be removed, in words.

    It goes by what is found on the machine, not by the state file, so it works after a crash, twice, and with the file
    lost. The files in `.mlops-infra/lab/` and the cached root file systems stay. Raises LabError when the lab is
    another cluster.yaml's.
    """
    need_root()
    with state.locked():
        found = state.load()
        if found is not None and config is not None and found.config != config.resolve():
            raise other_lab(found)
        hierarchies = discover()
        mirroring.stop()
        directories = {path.name for path in HOSTS.glob("*")} if HOSTS.is_dir() else set()
        names = sorted({*hierarchies.names(), *directories})
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            left = [text for texts in pool.map(lambda name: _remove(name, hierarchies), names) for text in texts]
        left += [f"network namespace {name}" for name in network.namespaces() if not network.disconnect(name)]
        left += [f"cgroup {path}" for path in hierarchies.remove_parents()]
        if not left:
            shutil.rmtree(STATE, ignore_errors=True)
            left += [f"directory {STATE}"] if STATE.exists() else []
        _note(emit, "the lab is down" if names else "there was no lab")
    return tuple(left)


def _remove(name: str, hierarchies: Hierarchies) -> list[str]:
    tally = hierarchies.kill(name)
    left = [f"process {pid} of {name}" for pid in tally.processes]
    left += [f"cgroup {path}" for path in tally.directories]
    left += [f"mount {path}" for path in disk.unmount(name)]
    if not left and not disk.destroy(name):
        left.append(f"directory of {name} below {HOSTS}")
    return left
