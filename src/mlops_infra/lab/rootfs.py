"""The root file systems of bare hosts: built once per machine and recipe by mmdebstrap; all hosts share them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.lab.paths import cache
from mlops_infra.lab.shell import run

__all__ = ["DEBIAN_12", "DEBIAN_13", "ensure_rootfs", "recipe_digest", "rootfs_path"]

DEBIAN_12 = "bookworm"
DEBIAN_13 = "trixie"

# What a minimal server installation has, and no more: no Python, nothing of Kubernetes, no curl.
_PACKAGES = (
    "apt",
    "ca-certificates",
    "dbus",
    "iproute2",
    "kmod",
    "login",
    "openssh-server",
    "passwd",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
)
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
# A container has no terminals or devices of its own, and its network is made before it starts.
_MASKED = ("systemd-networkd", "getty@tty1", "console-getty", "systemd-udevd", "systemd-firstboot")

# cgroup v1 only: nspawn mounts the controllers read-only, "remount,rw" says busy, a remounted bind does not.
# The shared root is what kubelet's bidirectional mounts need; systemd on a real machine sets it itself.
_PREPARE = """\
#!/bin/sh
for c in /sys/fs/cgroup/*/; do
  [ ! -e "$c/cgroup.clone_children" ] || mount -o remount,bind,rw "$c" || :
done
mount --make-rshared /
exit 0
"""
_PREPARE_UNIT = """\
[Unit]
Description=Make this container's cgroups writable, as they are on a machine
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-cgroup

[Install]
WantedBy=sysinit.target
"""
# /dev/kmsg is the machine's, for the kubelet; seven journals need not keep what its kernel says.
_JOURNAL = """\
[Journal]
ReadKMsg=no
"""
_REVISION = 1


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    text: str
    mode: int


_FILES = (
    _File("usr/local/sbin/lab-cgroup", _PREPARE, 0o755),
    _File("etc/systemd/system/lab-cgroup.service", _PREPARE_UNIT, 0o644),
    _File("etc/systemd/journald.conf.d/lab.conf", _JOURNAL, 0o644),
)


def recipe_digest(codename: str) -> str:
    """Twelve hex digits that change whenever the recipe does: an old root file system is never taken for new."""
    said = repr((codename, _PACKAGES, _EXCLUDED, _MASKED, _FILES, _REVISION))
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def rootfs_path(codename: str) -> Path:
    return cache() / f"rootfs-{codename}-{recipe_digest(codename)}"


def ensure_rootfs(codename: str, say: Callable[[str], None]) -> Path:
    """The root file system of a Debian release; built when it is not there (half a minute, once per machine).

    It is built beside its final name and renamed, so a killed build leaves nothing that looks finished.
    """
    final = rootfs_path(codename)
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with (final.parent / f"rootfs-{codename}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second builder waits, and finds it done
        if not final.is_dir():
            say(f"building the {codename} root file system (once per machine, about half a minute)")
            _build(codename, final)
            _remove_unused(codename, final)
    return final


def _build(codename: str, final: Path) -> None:
    for stale in final.parent.glob(f".rootfs-{codename}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".rootfs-{codename}-", dir=final.parent))
    try:
        root = work / "root"
        run(_mmdebstrap(codename, root), timeout=1200, environment={**os.environ, "TMPDIR": "/var/tmp"})  # noqa: S108
        _finish(root)
        root.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_unused(codename: str, final: Path) -> None:
    """Root file systems of earlier recipes, unless the disk of a host was made over them (disk.attach)."""
    used = {link.readlink() for link in Path("/var/lib").glob("mlops-infra-lab*/hosts/*/rootfs") if link.is_symlink()}
    for old in final.parent.glob(f"rootfs-{codename}-*"):
        if old.is_dir() and old not in used | {final}:
            shutil.rmtree(old, ignore_errors=True)


def _mmdebstrap(codename: str, root: Path) -> list[str]:
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--mode=root",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED),
        f"--include={','.join(_PACKAGES)}",
        codename,
        str(root),
    ]


def _finish(root: Path) -> None:
    """What tells hosts from one another is taken out, and every source of packages: the site is air-gapped."""
    for path in [root / "etc/machine-id", *root.glob("etc/ssh/ssh_host_*"), root / "etc/hostname"]:
        path.unlink(missing_ok=True)
    for path in [*root.glob("etc/apt/sources.list.d/*"), *root.glob("var/lib/apt/lists/*Packages*")]:
        path.unlink()
    for path in root.glob("var/lib/apt/lists/*Release*"):
        path.unlink()
    (root / "etc/apt/sources.list").write_text("")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    for file in _FILES:
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
        path.chmod(file.mode)
    run(["systemctl", f"--root={root}", "--quiet", "mask", *_MASKED])
    run(["systemctl", f"--root={root}", "--quiet", "enable", "lab-cgroup.service"])
