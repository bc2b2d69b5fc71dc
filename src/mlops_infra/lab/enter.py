"""Joining the lab's network, for a command that was told `--lab`."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

from mlops_infra.lab.errors import LabError
from mlops_infra.lab.paths import NETWORK_NAMESPACE

__all__ = ["enter_lab_network"]

_CLONE_NEWNET = 0x40000000


def enter_lab_network() -> None:
    """Put this process into the lab's network namespace: SSH, HTTP and ARP then work with no seam in the code.

    Once, at process start, before any thread: setns(2) moves only the calling one. Raises LabError when the lab is not
    up or this is not root.
    """
    namespace = Path("/run/netns") / NETWORK_NAMESPACE
    if not namespace.exists():
        raise LabError(
            "the lab is not up", cause="its network does not exist on this machine", remedy="mlops-infra lab up"
        )
    if threading.active_count() > 1:
        raise RuntimeError("enter_lab_network must come before the first thread")
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise LabError("only root may enter the lab's network", remedy="run the command with sudo") from error
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise LabError(
                f"the lab's network cannot be entered: {os.strerror(number)}", remedy="run it as root (sudo)"
            )
    finally:
        os.close(descriptor)
