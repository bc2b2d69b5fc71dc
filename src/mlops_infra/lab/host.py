"""One host: made bare, booted, looked at, and cut off. systemd is its PID 1, in a systemd-nspawn container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mlops_infra.lab import disk, network
from mlops_infra.lab.cgroup import Hierarchies, Tally
from mlops_infra.lab.errors import LabError
from mlops_infra.lab.keys import ensure_host_keys
from mlops_infra.lab.paths import host_directory
from mlops_infra.lab.rootfs import rootfs_path
from mlops_infra.lab.shell import run
from mlops_infra.lab.twin import TwinHost

__all__ = ["HostStatus", "Power", "boot", "console", "cut_power", "leader", "prepare", "status", "system_state"]

_CONSOLE_TAIL = 4000
# Arguments: the host's cgroups, --, the container's command. It enters them (0 is the writer itself) and becomes the
# container. 133 is nspawn's word for a reboot from inside: cgroups of the life before go, as on a power cut.
_RUN = """\
boot() (
  while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 71; shift; done
  shift
  exec "$@"
)
while boot "$@"; [ $? -eq 133 ]; do
  for cgroup; do
    [ "$cgroup" != -- ] || break
    find "$cgroup" -mindepth 1 -depth -type d -exec rmdir {} +
  done
done
"""


class Power(StrEnum):
    RUNNING = "running"
    FROZEN = "frozen"
    OFF = "off"
    """Shut down from inside, or never started."""
    CUT = "cut"
    """Off by `lab fail power`."""


@dataclass(frozen=True, slots=True)
class HostStatus:
    """How a host stands. `system` is systemd's own word (running, degraded, starting …), empty when it cannot say.

    `memory` in bytes, `uptime` in seconds; None where the host is off.
    """

    name: str
    address: str
    codename: str
    power: Power
    system: str = ""
    cable: bool = True
    disk_full: bool = False
    memory: int | None = None
    uptime: float | None = None
    pid: int | None = None


def prepare(host: TwinHost, authorized_key: str) -> Path:
    """Mount the host's disk over the bare root file system and give it what makes it this host; its root directory.

    What is there from before stays: booting again after a power cut finds everything as it was.
    """
    merged = disk.attach(host.name, rootfs_path(host.codename))
    if not (merged / "etc/machine-id").exists():
        _name(host, merged)
        _install_host_keys(host, merged)
        _add_user(host, merged, authorized_key)
        (merged / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")  # last: it marks a finished host
    return merged


def _name(host: TwinHost, merged: Path) -> None:
    (merged / "etc/hostname").write_text(f"{host.name}\n")
    (merged / "etc/hosts").write_text(
        "127.0.0.1\tlocalhost\n"
        f"127.0.1.1\t{host.name}\n"
        "\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
    )
    # Nobody answers there: an air-gapped site. Without any name server CoreDNS would not start.
    (merged / "etc/resolv.conf").write_text(f"nameserver {host.gateway}\n")


def _install_host_keys(host: TwinHost, merged: Path) -> None:
    for key in ensure_host_keys(host.name):
        target = merged / "etc/ssh" / key.name
        shutil.copyfile(key, target)
        target.chmod(0o600)
        shutil.copyfile(key.with_suffix(".pub"), target.with_suffix(".pub"))
    if host.ssh_port != 22:
        (merged / "etc/ssh/sshd_config.d/port.conf").write_text(f"Port {host.ssh_port}\n")


def _add_user(host: TwinHost, merged: Path, authorized_key: str) -> None:
    """The SSH user as an installer leaves it, with sudo that asks for no password; root has the key for the lab."""
    homes = [(merged / "root", 0, 0)]
    if host.ssh_user != "root":
        run(["chroot", merged, "useradd", "--create-home", "--shell", "/bin/bash", host.ssh_user])
        rule = merged / "etc/sudoers.d/90-installer"
        rule.write_text(f"{host.ssh_user} ALL=(ALL) NOPASSWD:ALL\n")
        rule.chmod(0o440)
        home = merged / "home" / host.ssh_user
        owner = home.stat()
        homes.append((home, owner.st_uid, owner.st_gid))
    for home, uid, gid in homes:
        directory, file = home / ".ssh", home / ".ssh/authorized_keys"
        directory.mkdir(exist_ok=True)
        file.write_text(authorized_key)
        for path, mode in ((directory, 0o700), (file, 0o600)):
            path.chmod(mode)
            os.chown(path, uid, gid)


def boot(host: TwinHost, hierarchies: Hierarchies) -> None:
    """Plug the host in and start it; returns at once. Its console goes to `console.log`.

    The bridge is there already. The container outlives this process: it has its own session and its own cgroups.
    """
    network.connect(host)
    _cut_mark(host.name).unlink(missing_ok=True)
    directories = hierarchies.create(host.name)
    log = host_directory(host.name) / "console.log"
    command = ["sh", "-c", _RUN, "lab-host", *map(str, directories), "--", *_nspawn(host)]
    environment = {**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1", "SYSTEMD_NSPAWN_USE_CGNS": "1"}
    with log.open("ab") as out:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            start_new_session=True,
            cwd="/",
        )


def _nspawn(host: TwinHost) -> list[str]:
    namespace = f"/run/netns/{host.namespace}"
    return [
        # nspawn mounts /sys before it goes where its own option tells it to: /sys/class/net would be the machine's.
        "nsenter",
        f"--net={namespace}",
        "systemd-nspawn",
        "--quiet",
        f"--directory={disk.root(host.name)}",
        f"--machine={host.name}",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--console=pipe",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        f"--network-namespace-path={namespace}",
        "--capability=all",
        "--system-call-filter=@known @privileged @keyring bpf",  # runc wants keyring and bpf
        *(f"--bind={disk.bound(host.name, part)}:/var/lib/{part}" for part in disk.BOUND),
        "--bind=/dev/kmsg",
        "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",  # an argument of init: Debian 13 refuses cgroup v1 without it
    ]


def leader(name: str, hierarchies: Hierarchies) -> int | None:
    """The machine's process id of the host's PID 1; found by its cgroup, so a lost state file does not matter."""
    for pid in hierarchies.processes(name):
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        found = re.search(r"^NSpid:\t(?:\d+\t)+1$", text, re.MULTILINE)
        if found and len(found.group().split()) == _depth() + 2:
            return pid
    return None


def _depth() -> int:
    """How many process id namespaces this process is in, as its /proc sees them."""
    found = re.search(r"^NSpid:(.*)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return len(found.group(1).split()) if found else 1


def system_state(pid: int) -> str:
    """What `systemctl is-system-running` says inside; empty when it says nothing within five seconds."""
    command = ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "systemctl", "is-system-running"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip()


def status(host: TwinHost, hierarchies: Hierarchies) -> HostStatus:
    pid = leader(host.name, hierarchies)
    common = {
        "name": host.name,
        "address": host.address,
        "codename": host.codename,
        "cable": network.cable_is_up(host),
        "disk_full": disk.is_full(host.name),
    }
    if pid is None:
        return HostStatus(**common, power=Power.CUT if _cut_mark(host.name).exists() else Power.OFF)  # type: ignore[arg-type]
    frozen = hierarchies.is_frozen(host.name)
    return HostStatus(
        **common,  # type: ignore[arg-type]
        power=Power.FROZEN if frozen else Power.RUNNING,
        system="" if frozen else system_state(pid),
        memory=hierarchies.memory(host.name),
        uptime=_age(pid),
        pid=pid,
    )


def _age(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5): since boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def cut_power(name: str, hierarchies: Hierarchies) -> Tally:
    """Every process of the host dies at once and its cgroups go; its disk keeps what was on it, its cable hangs on."""
    tally = hierarchies.kill(name)
    _cut_mark(name).touch()
    return tally


def _cut_mark(name: str) -> Path:
    return host_directory(name) / "power-cut"


def console(name: str) -> str:
    """The end of what the host wrote to its console: for a host that does not come up."""
    log = host_directory(name) / "console.log"
    try:
        return log.read_bytes()[-_CONSOLE_TAIL:].decode(errors="replace")
    except OSError as error:
        raise LabError("the host has no console log", host=name) from error
