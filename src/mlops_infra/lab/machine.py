"""What the lab asks of the machine itself: limits that all hosts share, and a look at a port in the lab's network."""

from __future__ import annotations

from pathlib import Path

from mlops_infra.lab.paths import NETWORK_NAMESPACE
from mlops_infra.lab.shell import succeeds

__all__ = ["SHARED_LIMITS", "answers", "raise_limits"]

SHARED_LIMITS = {
    # One platform alone uses 127 inotify instances of the 128 that a kernel grants a user by default.
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 1048576,
    # What a kubelet would set: the hosts cannot, all at once, in one kernel.
    "vm/overcommit_memory": 1,
    "vm/max_map_count": 262144,
}
"""Paths below /proc/sys and the least value the lab needs; they stay raised after `lab down`, they harm nobody."""


def raise_limits(root: Path = Path("/proc/sys")) -> None:
    """Raise, never lower, the limits of the shared kernel."""
    for name, least in SHARED_LIMITS.items():
        path = root / name
        if path.exists() and int(path.read_text()) < least:
            path.write_text(f"{least}\n")


def answers(address: str, port: int) -> bool:
    """Whether something accepts TCP connections there, seen from the lab's network."""
    look = [
        "ip",
        "netns",
        "exec",
        NETWORK_NAMESPACE,
        "timeout",
        "2",
        "bash",
        "-c",
        f"exec 3<>/dev/tcp/{address}/{port}",
    ]
    return succeeds(look, timeout=10)
