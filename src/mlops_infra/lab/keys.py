"""The lab's own key pair, and the hosts' keys: made here, pinned here, so that nobody has to trust by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlops_infra.lab.paths import STATE
from mlops_infra.lab.shell import run
from mlops_infra.lab.twin import TwinHost

__all__ = ["ensure_host_keys", "ensure_identity", "known_hosts_text", "write_known_hosts"]

_KINDS = ("ed25519", "ecdsa")


def ensure_identity(directory: Path) -> Path:
    """The private key in `.mlops-infra/lab/`; made when it is not there, kept when it is."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = directory / "id_ed25519"
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mlops-infra lab", "-f", key])
    elif not key.with_suffix(".pub").exists():
        key.with_suffix(".pub").write_text(run(["ssh-keygen", "-y", "-f", key]))
    return key


def ensure_host_keys(name: str) -> tuple[Path, ...]:
    """The private host keys of a host. They outlive its disk, so that a host that was reset keeps its pinned keys."""
    directory = STATE / "host-keys" / name
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = tuple(directory / f"ssh_host_{kind}_key" for kind in _KINDS)
    for key, kind in zip(keys, _KINDS, strict=True):
        if not key.with_suffix(".pub").exists():
            key.unlink(missing_ok=True)
            run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"root@{name}", "-f", key])
    return keys


def known_hosts_text(keys: Iterable[tuple[TwinHost, str]]) -> str:
    """Lines of a known_hosts file from hosts and their public keys; `[address]:port` where the port is not 22."""
    lines = []
    for host, public in keys:
        kind, blob = public.split()[:2]
        where = host.address if host.ssh_port == 22 else f"[{host.address}]:{host.ssh_port}"
        lines.append(f"{where} {kind} {blob}")
    return "".join(f"{line}\n" for line in lines)


def write_known_hosts(path: Path, hosts: Iterable[TwinHost]) -> None:
    """Pin the keys of all hosts of the twin in the lab's known_hosts, in place of what it said before."""
    pairs = [(host, key.with_suffix(".pub").read_text()) for host in hosts for key in ensure_host_keys(host.name)]
    path.write_text(known_hosts_text(pairs))
    path.chmod(0o600)
