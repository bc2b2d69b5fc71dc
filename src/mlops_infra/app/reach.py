"""How cluster.yaml's hosts are reached: a target each, and SSH as this site wants it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlops_infra.app.context import SiteContext
from mlops_infra.app.secrets import resolve
from mlops_infra.core import Secret
from mlops_infra.model.base import FileName
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.model.named import beside
from mlops_infra.model.ssh import Bastion, Ssh
from mlops_infra.transport import Target
from mlops_infra.transport.ssh import USER_SSH_CONFIG, SshTransport

__all__ = ["AskPassword", "bastion_target", "targets", "transport_of"]

AskPassword = Callable[[], Secret]


def transport_of(context: SiteContext, ask: AskPassword | None = None) -> SshTransport:
    """SSH as this site wants it, with its slow imports under way."""
    source, site = context.cluster.ssh.sudo_password, context.site
    if source is not None:
        ask = partial(resolve, source, "sudo", site)
    # The lab's hosts have the addresses of real ones: what ~/.ssh/config says of those is not meant.
    transport = SshTransport(site.known_hosts, ask, ssh_config=None if site.lab else USER_SSH_CONFIG)
    threading.Thread(target=transport.preload, daemon=True).start()
    return transport


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


def _path(name: FileName | None, base: Path) -> Path | None:
    if name is None:
        return None
    return beside(base, name)
