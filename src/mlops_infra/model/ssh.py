"""How hosts are reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mlops_infra.model.base import LOGIN, FileName, HostOrAddress, Noun, Port, Word
from mlops_infra.model.secret import SecretSource

__all__ = ["Bastion", "Ssh", "SshOverride", "SudoMode"]

SudoMode = Literal["auto", "root", "nopasswd", "password"]


class Bastion(Noun):
    address: HostOrAddress
    user: Word | None = None
    """Empty: the user of `ssh:`."""
    port: Port = 22
    identity: Annotated[FileName | None, LOGIN] = None
    """Empty: the key of `ssh:`."""
    host_key: str | None = None
    """The pinned fingerprint, as for hosts."""


class SshOverride(Noun):
    """What one host says differently from the `ssh:` section."""

    user: Word | None = None
    port: Port | None = None
    identity: Annotated[FileName | None, LOGIN] = None
    sudo: SudoMode | None = None
    host_key: str | None = None
    """The pinned fingerprint, `SHA256:…` as `ssh-keygen -lf` prints it."""


class Ssh(Noun):
    user: Word
    """Who SSH logs in as."""
    port: Port = 22
    identity: Annotated[FileName | None, LOGIN] = None
    """A private key file; `~` and paths relative to cluster.yaml work. None: the agent, then ssh's usual files."""
    agent: bool = True
    """Whether keys of a running ssh-agent are tried."""
    bastion: Bastion | None = None
    """A host that connections go through."""
    sudo: SudoMode = "auto"
    """How commands become root: `auto` finds out, `root` logs in as root, `nopasswd` and `password` say how
    sudo behaves."""
    sudo_password: Annotated[SecretSource | None, LOGIN] = None
    """None: asked for once on the terminal when sudo wants one."""
    connect_timeout: float = Field(default=10.0, gt=0)
    """Seconds."""
