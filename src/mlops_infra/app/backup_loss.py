"""What a restore would take away: the keys of the living etcd against the snapshot's."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Loss", "compare", "object_name"]

_NOISE = ("events/", "leases/", "masterleases/", "ranges/", "apiregistration.k8s.io/")
_PREFIX = "/registry/"
_WORDS = {
    "minions/": "nodes/", "services/specs/": "services/", "services/endpoints/": "endpoints/", "ingress/": "ingresses/",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loss:
    """By names of objects. `known` is False where no etcd lives that could be asked; `back_known`, where the bundle
    lists its keys."""

    known: bool
    created: tuple[str, ...] = ()
    """Made since the snapshot: they will be gone."""
    changed: tuple[str, ...] = ()
    """Changed since: the changes will be gone."""
    deleted: tuple[str, ...] = ()
    """Deleted since: they will be back."""
    back_known: bool = True

    @property
    def is_nothing(self) -> bool:
        return self.known and not (self.created or self.changed or self.deleted)


def compare(packed: bytes, revision: int, listed: bytes | None) -> Loss:
    """`packed`: what `keys_script` answered; `revision` and `listed`: the snapshot's, and the keys in it.

    Events, leases and the like are no loss. An etcd that has not come as far as the snapshot is not the one that it was
    taken from: a member that lost its data begins anew, empty. Raises ValueError for an answer that makes no sense.
    """
    said = json.loads(gzip.decompress(packed))
    if int(said["header"].get("revision", 0)) < revision:
        return Loss(known=False)
    created, changed, there = [], [], set()
    for one in said.get("kvs", ()):
        key = base64.b64decode(one["key"]).decode("utf-8", "replace")
        there.add(key)
        if _is_noise(key):
            continue
        if int(one["create_revision"]) > revision:
            created.append(object_name(key))
        elif int(one["mod_revision"]) > revision:
            changed.append(object_name(key))
    old = {line for line in (listed or b"").decode("utf-8", "replace").splitlines() if line}
    # One that was deleted and made again under its name is both: it was counted as made.
    deleted = [object_name(key) for key in old - there if not _is_noise(key)]
    return Loss(
        known=True,
        created=_sorted(created),
        changed=_sorted(changed),
        deleted=_sorted(deleted),
        back_known=listed is not None,
    )


def object_name(key: str) -> str:
    """`/registry/minions/name` as `nodes/name`: where etcd's path says it in other words than the API."""
    name = key.removeprefix(_PREFIX)
    old = next((old for old in _WORDS if name.startswith(old)), "")
    return _WORDS.get(old, "") + name.removeprefix(old)


def _is_noise(key: str) -> bool:
    return not key.startswith(_PREFIX) or key.removeprefix(_PREFIX).startswith(_NOISE)


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
