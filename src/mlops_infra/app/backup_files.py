"""What a bundle holds of the workstation: cluster.yaml, and whatever belongs to it.

By path below the bundle's `cluster/`: `cluster.yaml`, `known_hosts`, `secrets/NAME`, `files/PATH`, the lab's
`overlay.yaml`. `backup etcd` puts them in; for the masters' timer they lie on each master as one archive.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlops_infra.app.backup_key import key_path
from mlops_infra.app.context import SiteContext
from mlops_infra.app.reach import bastion_target, targets
from mlops_infra.errors import ConfigError
from mlops_infra.model.base import FileName
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.named import Named, beside, named_in
from mlops_infra.model.tree import spell
from mlops_infra.operations.packed import tar_of
from mlops_infra.transport.known_hosts import HostKey, read_known_hosts

__all__ = ["check_named", "site_archive", "site_files"]


def site_files(context: SiteContext) -> dict[str, bytes]:
    """All of it as it lies here. Never the backup's own private key, nor what the operator logs in with."""
    site = context.site
    files = _described(context)
    if site.known_hosts.is_file():
        files["known_hosts"] = site.known_hosts.read_bytes()
    if site.secrets.is_dir():
        files |= {f"secrets/{p.name}": p.read_bytes() for p in site.secrets.iterdir() if p.is_file()}
    return files


def site_archive(context: SiteContext, secrets: Iterable[str]) -> bytes:
    """The same as a tar for the masters, of the generated secrets with these names.

    Two operators give the same bytes: only what the platform itself needs is in it, in order, one key a host. Else each
    `up` of the one would undo the other's.
    """
    site = context.site
    files = _described(context)
    if pins := _pins(context):
        files["known_hosts"] = pins
    files |= {f"secrets/{n}": path.read_bytes() for n in secrets if (path := site.secrets / n).is_file()}
    return tar_of(dict(sorted(files.items())))


def _described(context: SiteContext) -> dict[str, bytes]:
    """cluster.yaml, and the files beside it that it names."""
    site = context.site
    base = site.config.parent
    files = {"cluster.yaml": site.config.read_bytes()}
    if site.lab and site.overlay.is_file():
        files["overlay.yaml"] = site.overlay.read_bytes()
    for one in named_in(context.cluster):
        path = beside(base, FileName(one.name))
        if one.lies_beside and not one.is_login and path.is_file() and path != key_path(site):
            files[f"files/{Path(one.name).as_posix()}"] = path.read_bytes()
    return files


def _pins(context: SiteContext) -> bytes:
    """Pinned keys of this platform's hosts; those that cluster.yaml pins need no other."""
    base = context.site.config.parent
    jump = bastion_target(context.cluster.ssh, base)
    reached = (*targets(context.cluster, base).values(), *([jump] if jump else []))
    known = read_known_hosts(context.site.known_hosts)
    names = {t.key_name for t in reached if not t.host_key and t.key_name in known}
    best = {name: min(known[name], key=_rank) for name in sorted(names)}
    return "".join(f"{name} {key.kind} {key.blob}\n" for name, key in best.items()).encode()


def _rank(key: HostKey) -> tuple[bool, str, str]:
    """`hosts trust` pins one key a host; who wrote known_hosts by hand may have several."""
    return key.kind != "ssh-ed25519", key.kind, key.blob


def check_named(context: SiteContext) -> None:
    """Raises ConfigError that tells all at once what cluster.yaml names and this machine lacks."""
    lacking: dict[str, list[str]] = {}
    for what, one in _lacking(context.cluster, context.site.config.parent):
        lacking.setdefault(what, []).append(spell(one.keys))
    if lacking:
        raise ConfigError(
            f"{context.site.config} names what is not here: {len(lacking)} in all",
            details="\n".join(f"{what}  ({', '.join(places)})" for what, places in lacking.items()),
            cause="A bundle holds neither the environment, nor files from elsewhere, nor what you log in with.",
            remedy="Export and put there what is listed, or correct cluster.yaml; then run the same command again.",
        )


def _lacking(cluster: Cluster, base: Path) -> Iterator[tuple[str, Named]]:
    for one in named_in(cluster):
        if _is_off(cluster, one):
            continue
        if not one.is_file and not os.environ.get(one.name):
            yield f"the environment variable {one.name}", one
        elif one.is_file and not beside(base, FileName(one.name)).is_file():
            yield f"the file {one.name}", one


def _is_off(cluster: Cluster, one: Named) -> bool:
    """Named for a part that is switched off: nothing asks for it."""
    if one.keys[0] == "monitoring":
        return not cluster.monitoring.enabled
    return one.keys[:2] == ("backup", "copies") and not cluster.backup.schedule.enabled
