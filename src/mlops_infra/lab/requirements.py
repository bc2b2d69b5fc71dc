"""What the machine must have: root and a few programs of its distribution."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from mlops_infra.lab.errors import LabError
from mlops_infra.lab.shell import run

__all__ = ["PROGRAMS", "install_missing", "missing_packages", "need_programs", "need_root"]

PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "iptables": "iptables",
    "ethtool": "ethtool",
    "docker-registry": "docker-registry",
    "curl": "curl",
    "mkfs.ext4": "e2fsprogs",
    "nsenter": "util-linux",
}
"""Program to Debian package."""


def need_root() -> None:
    """Raises LabError for anybody but root: namespaces, mounts and cgroups are root's."""
    if os.geteuid() != 0:
        raise LabError(
            "the lab needs root on this machine", remedy="sudo mlops-infra lab up", cause="it makes namespaces"
        )


def missing_packages(which: Callable[[str], str | None] = shutil.which) -> tuple[str, ...]:
    return tuple(sorted({package for program, package in PROGRAMS.items() if which(program) is None}))


def need_programs() -> None:
    """Raises LabError that names what is missing and the command that installs it."""
    missing = missing_packages()
    if missing:
        raise LabError(
            f"this machine lacks {', '.join(missing)}",
            remedy=f"mlops-infra lab up --install   (or: apt-get install {' '.join(missing)})",
        )


def install_missing(say: Callable[[str], None]) -> None:
    """Install what is missing with apt-get. Raises LabError with apt's words when it cannot."""
    missing = missing_packages()
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LabError(
            "only a Debian or Ubuntu machine can install these by itself", remedy=f"install {' '.join(missing)}"
        )
    say(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "-q", "update"], timeout=300, environment=environment)
    run(["apt-get", "-q", "-y", "--no-install-recommends", "install", *missing], timeout=900, environment=environment)
    if "docker-registry" in missing and shutil.which("systemctl"):
        # Its package starts a service on the machine's own port 5000; the lab starts its own, in its own network.
        run(["sh", "-c", "systemctl disable --now docker-registry 2>/dev/null || true"])
