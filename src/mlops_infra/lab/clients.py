"""Command lines of clients in the lab's network: ssh to a host, curl to anything."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mlops_infra.lab.paths import NETWORK_NAMESPACE
from mlops_infra.lab.twin import TwinHost
from mlops_infra.model.site import Site

__all__ = ["curl_command", "ssh_command"]

_INSIDE = ("ip", "netns", "exec", NETWORK_NAMESPACE)


def ssh_command(one: TwinHost, config: Path, command: Sequence[str] = (), *, as_root: bool = False) -> list[str]:
    """`ssh` to a host with the lab's key and its pinned host keys; a terminal, or `command` as its words are.

    As the SSH user of cluster.yaml, or as root (for the lab's own work).
    """
    site = Site(config, lab=True)
    options = {
        "IdentitiesOnly": "yes",
        "IdentityFile": str(site.directory / "id_ed25519"),
        "UserKnownHostsFile": str(site.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "5",
        "LogLevel": "ERROR",
    }
    words = [*_INSIDE, "ssh", "-F", "none", "-p", str(one.ssh_port)]
    for name, value in options.items():
        words += ["-o", f'{name}="{value}"' if " " in value else f"{name}={value}"]
    user = "root" if as_root else one.ssh_user
    return [*words, f"{user}@{one.address}", *(["--", _quoted(command)] if command else [])]


def _quoted(command: Sequence[str]) -> str:
    """One word stays a shell line, as with ssh itself; several are kept apart as they are."""
    return command[0] if len(command) == 1 else shlex.join(command)


def curl_command(arguments: Sequence[str], endpoint: str, address: str) -> list[str]:
    """`curl` in the lab's network, where the endpoint's name leads to its address as it does on the nodes."""
    known = ["--connect-to", f"{endpoint}::{address}:"] if endpoint and endpoint != address else []
    return [*_INSIDE, "curl", "--noproxy", "*", *known, *arguments]
