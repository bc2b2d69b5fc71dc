"""Where a host is and how to log in there, computed from cluster.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.model.ssh import Bastion, Ssh, SudoMode

__all__ = ["Target", "bastion_target", "targets"]


@dataclass(frozen=True, slots=True)
class Target:
    """One host as SSH sees it.

    `identity`: a private key file, used alone; None: the agent (where `agent`), then ssh's usual key files.
    `host_key`: a fingerprint `SHA256:…` pinned in cluster.yaml; it wins over known_hosts. `connect_timeout` is in
    seconds and covers everything up to the authenticated connection, retries included.
    """

    name: str
    address: str
    port: int = 22
    user: str = "root"
    identity: Path | None = None
    agent: bool = True
    sudo: SudoMode = "auto"
    host_key: str | None = None
    bastion: Target | None = None
    connect_timeout: float = 10.0

    @property
    def key_name(self) -> str:
        """The name under which OpenSSH keeps this host's key: `address`, or `[address]:port` off port 22."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"


def targets(cluster: Cluster, base: Path) -> dict[str, Target]:
    """A target per host, in file order. `base` is the directory of cluster.yaml, for relative identity paths."""
    bastion = bastion_target(cluster.ssh, base)
    return {host.name: _target(host, cluster.ssh, bastion, base) for host in cluster.all_hosts}


def bastion_target(ssh: Ssh, base: Path) -> Target | None:
    """The bastion named in cluster.yaml; it logs in as the hosts do where it does not say otherwise."""
    jump: Bastion | None = ssh.bastion
    if jump is None:
        return None
    return Target(
        name="bastion",
        address=jump.address,
        port=jump.port,
        user=jump.user or ssh.user,
        identity=_path(jump.identity or ssh.identity, base),
        agent=ssh.agent,
        sudo="root",
        host_key=jump.host_key,
        connect_timeout=ssh.connect_timeout,
    )


def _target(host: Host, ssh: Ssh, bastion: Target | None, base: Path) -> Target:
    own = host.ssh
    return Target(
        name=host.name,
        address=host.address,
        port=own.port or ssh.port,
        user=own.user or ssh.user,
        identity=_path(own.identity or ssh.identity, base),
        agent=ssh.agent,
        sudo=own.sudo or ssh.sudo,
        host_key=own.host_key,
        bastion=bastion,
        connect_timeout=ssh.connect_timeout,
    )


def _path(text: str | None, base: Path) -> Path | None:
    if text is None:
        return None
    return base / Path(text).expanduser()
