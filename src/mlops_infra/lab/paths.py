"""Where the lab keeps things, and what it calls them on this machine."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

__all__ = [
    "BRIDGE",
    "CGROUP",
    "HOSTS",
    "LOCK",
    "MIRROR_CGROUP",
    "NAMESPACE_PREFIX",
    "NETWORK_NAMESPACE",
    "STATE",
    "STATE_FILE",
    "cache",
    "host_directory",
    "namespace_of",
    "veth_of",
]

_INSTANCE = re.sub("[^a-z0-9]", "", os.environ.get("MLOPS_INFRA_LAB_INSTANCE", ""))
"""Letters and digits that keep a second lab apart from the usual one, for tests that run beside it."""

NETWORK_NAMESPACE = f"lab{_INSTANCE}-net"
"""Where the bridge and the mirror live; `--lab` commands join it."""
NAMESPACE_PREFIX = f"lab{_INSTANCE}-"
BRIDGE = "br0"
CGROUP = f"mlops-infra-lab{_INSTANCE}"
"""Directory of the lab's hosts in every cgroup hierarchy."""
MIRROR_CGROUP = "@mirror"
"""Beside the hosts' directories; no host can have this name (RFC 1123)."""
STATE = Path(f"/var/lib/mlops-infra-lab{_INSTANCE}")
"""Disks of the hosts and the state file: big, root's, gone after `lab down`. One lab at a time on a machine."""
STATE_FILE = STATE / "lab.json"
HOSTS = STATE / "hosts"
LOCK = Path(f"/run/lock/mlops-infra-lab{_INSTANCE}.lock")
_LINK_NAME_LENGTH = 15  # IFNAMSIZ - 1


def cache() -> Path:
    """`~/.cache/mlops-infra/lab` (or below XDG_CACHE_HOME): root file systems and the mirror, shared by all labs."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mlops-infra" / "lab"


def host_directory(name: str) -> Path:
    return HOSTS / name


def namespace_of(name: str) -> str:
    """The network namespace of a host."""
    return f"{NAMESPACE_PREFIX}{name}"


def veth_of(name: str) -> str:
    """The bridge's end of a host's cable: `v-NAME`, shortened with a digest where Linux allows no such long name."""
    plain = f"v-{name}"
    if len(plain) <= _LINK_NAME_LENGTH:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:5]
    return f"v-{name[: _LINK_NAME_LENGTH - 8]}-{digest}"
