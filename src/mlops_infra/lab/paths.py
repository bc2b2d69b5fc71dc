"""Where the lab keeps things, and what it calls them on this machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = [
    "BRIDGE",
    "CGROUP",
    "HOSTS",
    "LOCK",
    "MIRROR_CGROUP",
    "NETWORK_NAMESPACE",
    "STATE",
    "STATE_FILE",
    "cache",
    "host_directory",
    "namespace_of",
    "veth_of",
]

NETWORK_NAMESPACE = "lab-net"
"""Where the bridge and the mirror live; `--lab` commands join it."""
BRIDGE = "br0"
CGROUP = "mlops-infra-lab"
"""Directory of the lab's hosts in every cgroup hierarchy."""
MIRROR_CGROUP = "@mirror"
"""Beside the hosts' directories; no host can have this name (RFC 1123)."""
STATE = Path("/var/lib/mlops-infra-lab")
"""Disks of the hosts and the state file: big, root's, gone after `lab down`. One lab at a time on a machine."""
STATE_FILE = STATE / "lab.json"
HOSTS = STATE / "hosts"
LOCK = Path("/run/lock/mlops-infra-lab.lock")
_LINK_NAME_LENGTH = 15  # IFNAMSIZ - 1


def cache() -> Path:
    """`~/.cache/mlops-infra/lab` (or below XDG_CACHE_HOME): root file systems and the mirror, shared by all labs."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mlops-infra" / "lab"


def host_directory(name: str) -> Path:
    return HOSTS / name


def namespace_of(name: str) -> str:
    """The network namespace of a host."""
    return f"lab-{name}"


def veth_of(name: str) -> str:
    """The bridge's end of a host's cable: `v-NAME`, shortened with a digest where Linux allows no such long name."""
    plain = f"v-{name}"
    if len(plain) <= _LINK_NAME_LENGTH:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:5]
    return f"v-{name[: _LINK_NAME_LENGTH - 8]}-{digest}"
