"""A host's disk: a sparse file with its own ext4, so that one host can run full and the machine cannot.

On it lie the overlay's upper layer over the shared root file system, and what must not be an overlay itself
(/var/lib/containerd, kubelet, etcd). Where the kernel has no loop devices a plain directory takes its place.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mlops_infra.lab.errors import LabError
from mlops_infra.lab.paths import HOSTS, host_directory
from mlops_infra.lab.shell import run, succeeds

__all__ = ["BOUND", "attach", "bound", "destroy", "fill", "free", "is_full", "mounts", "root", "unmount"]

BOUND = ("containerd", "kubelet", "etcd")
_SIZE = 40 << 30  # bytes; sparse, what a host does not write does not exist
_FILLER = "filler"


def root(name: str) -> Path:
    """The host's whole file system, mounted."""
    return host_directory(name) / "root"


def _disk(name: str) -> Path:
    return host_directory(name) / "disk"


def bound(name: str, what: str) -> Path:
    """The directory behind /var/lib/WHAT of a host."""
    return _disk(name) / what


def mounts(table: str | None = None) -> tuple[Path, ...]:
    """All mounts of the lab's hosts, the innermost first, from /proc/mounts."""
    text = Path("/proc/mounts").read_text() if table is None else table
    found = [Path(line.split()[1]) for line in text.splitlines()]
    return tuple(sorted((p for p in found if p.is_relative_to(HOSTS)), key=lambda p: len(p.parts), reverse=True))


def attach(name: str, rootfs: Path) -> Path:
    """Mount a host's disk, made when it is not there, and its root file system over it; returns the latter.

    A disk belongs to the root file system that it was made over: it is remembered beside it, and wins over `rootfs`.
    """
    directory, disk, merged = host_directory(name), _disk(name), root(name)
    for path in (disk, merged):
        path.mkdir(parents=True, exist_ok=True)
    below = directory / "rootfs"
    if not below.is_symlink():
        below.symlink_to(rootfs)
    there = mounts()
    if disk not in there:
        _mount_disk(directory / "disk.img", disk)
    for part in ("upper", "work", *BOUND):
        (disk / part).mkdir(exist_ok=True)
    if merged not in there:
        layers = f"lowerdir={below.readlink()},upperdir={disk}/upper,workdir={disk}/work"
        run(["mount", "-t", "overlay", "-o", layers, "overlay", merged])
    return merged


def _mount_disk(image: Path, disk: Path) -> None:
    if not Path("/dev/loop-control").exists():
        return
    if not image.exists():
        fresh = image.with_suffix(".new")
        with fresh.open("wb") as file:
            file.truncate(_SIZE)
        # No journal: the machine's kernel lives on when a host loses power, and etcd syncs often. The file is sparse
        # and reads as zeros: no inode table needs to be written (here, and by noinit_itable below).
        run(
            [
                "mkfs.ext4",
                "-q",
                "-F",
                "-m",
                "0",
                "-O",
                "^has_journal",
                "-E",
                "lazy_itable_init=1,nodiscard",
                "-i",
                "32768",
                fresh,
            ]
        )
        fresh.rename(image)
    run(["mount", "-o", "loop,discard,noatime,noinit_itable", image, disk])


def unmount(name: str) -> tuple[Path, ...]:
    """Unmount everything of a host, lazily where something still holds it; what is left."""
    for path in mounts():
        if path.is_relative_to(host_directory(name)) and not succeeds(["umount", path]):
            succeeds(["umount", "-l", path])
    return tuple(path for path in mounts() if path.is_relative_to(host_directory(name)))


def destroy(name: str) -> bool:
    """Throw the host's disk away; it must be unmounted. False when something could not be removed."""
    shutil.rmtree(host_directory(name), ignore_errors=True)
    return not host_directory(name).exists()


def fill(name: str) -> None:
    """Take every free byte of the host's own disk, so that each write on it fails with ENOSPC.

    Blocks are reserved, not written: it is done at once and costs the machine nothing. Raises LabError without a disk
    of the host's own.
    """
    disk = _disk(name)
    if disk not in mounts():
        raise LabError("this host has no disk of its own to fill", host=name, cause="the kernel has no loop devices")
    with (disk / _FILLER).open("ab") as file:
        step = 1 << 33
        while step >= 4096:
            free_bytes = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            size = min(step, free_bytes)
            try:
                if size:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                if size < step:
                    step //= 2
            except OSError:
                step //= 2


def free(name: str) -> None:
    (_disk(name) / _FILLER).unlink(missing_ok=True)


def is_full(name: str) -> bool:
    return (_disk(name) / _FILLER).exists()
