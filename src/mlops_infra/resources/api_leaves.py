"""Comparing what we want of an API object with what is there, leaf by leaf.

Only our own leaves count: what the server or another manager added is not ours to judge (architecture.md 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from mlops_infra.core import MASK

__all__ = ["differences", "shown_object"]

_KEYS: tuple[tuple[str, ...], ...] = (
    ("containerPort", "protocol"),
    ("port", "protocol"),
    ("name",),
    ("mountPath",),
    ("key", "effect"),
    ("type",),
    ("topologyKey", "whenUnsatisfiable"),
    ("ip",),
    ("uid",),
)
"""What identifies an element of a list, tried in this order; the API's own merge keys for the lists that we use."""

_SERVER_SET = frozenset({("status",), ("metadata", "creationTimestamp"), ("metadata", "namespace")})
_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3), "M": Decimal(10**6),
    "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18), "Ki": Decimal(2**10),
    "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?")
_QUANTITY_PARENTS = frozenset({"limits", "requests", "capacity", "hard", "allocatable", "max", "min", "default"})
_QUANTITY_KEYS = frozenset({"sizeLimit", "storage", "cpu", "memory", "divisor", "ephemeral-storage"})
_SHOWN = 120

Path = tuple[str, ...]


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Lines `path: old → new` for our leaves that are not so in `found`; none when all hold."""
    secret = wanted.get("kind") == "Secret"
    wanted, found = _plain_secret(wanted), _plain_secret(found)
    lines = []
    for path, new, old in _walk(wanted, found, ()):
        masked = secret and path[:1] in {("data",), ("stringData",)}
        said = [MASK if masked and value is not None else _shown(value) for value in (old, new)]
        lines.append(f"{'.'.join(path)}: {said[0]} → {said[1]}")
    return lines


def shown_object(manifest: Mapping[str, Any]) -> list[str]:
    """The leaves of an object that is to be made, one a line."""
    return [line.replace("(none) → ", "") for line in differences(manifest, {})]


def _plain_secret(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """A Secret's stringData as the server keeps it, in data."""
    if manifest.get("kind") != "Secret" or not manifest.get("stringData"):
        return manifest
    import base64  # noqa: PLC0415 - only manifests with stringData pay for it

    coded = {k: base64.b64encode(str(v).encode()).decode() for k, v in manifest["stringData"].items()}
    rest = {k: v for k, v in manifest.items() if k != "stringData"}
    return {**rest, "data": {**(manifest.get("data") or {}), **coded}}


def _walk(new: Any, old: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """The leaves of `new` that `old` does not hold, as (path, new, old)."""
    if path in _SERVER_SET or _is_nothing(new):
        return
    if isinstance(new, Mapping):
        if old is not None and not isinstance(old, Mapping):
            yield path, new, old
            return
        for key, value in new.items():
            yield from _walk(value, (old or {}).get(key), (*path, str(key)))
    elif isinstance(new, Sequence) and not isinstance(new, str | bytes):
        yield from _walk_list(new, old if isinstance(old, list | tuple) else [], path)
    elif not _same(new, old, path):
        yield path, new, old


def _walk_list(new: Sequence[Any], old: Sequence[Any], path: Path) -> Iterator[tuple[Path, Any, Any]]:
    if not any(isinstance(item, Mapping) for item in new):
        # A list of scalars is one leaf: its order and its length are meant (args, command, verbs).
        if len(new) != len(old) or any(not _same(n, o, path) for n, o in zip(new, old, strict=True)):
            yield path, list(new), list(old)
        return
    keys = _key_for(new)
    for position, item in enumerate(new):
        name = _identity(item, keys) if keys else str(position)
        if keys:
            match = next((o for o in old if isinstance(o, Mapping) and _matches(item, o, keys)), None)
        else:
            match = old[position] if position < len(old) else None
        yield from _walk(item, match, (*path, f"[{name}]"))
        if match is None and isinstance(item, Mapping) and not any(True for _ in _walk(item, {}, ())):
            yield (*path, f"[{name}]"), item, None
    extra = [o for o in old if not any(_matches(n, o, keys) for n in new)] if keys else list(old[len(new) :])
    # What others put beside ours in a keyed list is theirs; in a list without keys the whole list is ours.
    if not keys and extra:
        yield path, f"{len(new)} items", f"{len(old)} items"


def _key_for(items: Sequence[Any]) -> tuple[str, ...]:
    """The first key under which all items are named and none twice."""
    for keys in _KEYS:
        if not all(isinstance(i, Mapping) and keys[0] in i for i in items):
            continue
        names = [_identity(i, keys) for i in items]
        if len(set(names)) == len(names):
            return keys
    return ()


_KEY_DEFAULTS = {"protocol": "TCP"}


def _identity(item: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return "/".join(str(item.get(k, _KEY_DEFAULTS.get(k, ""))) for k in keys)


def _matches(new: Any, old: Any, keys: tuple[str, ...]) -> bool:
    return isinstance(new, Mapping) and isinstance(old, Mapping) and _identity(new, keys) == _identity(old, keys)


def _same(new: Any, old: Any, path: Path) -> bool:
    if new == old and isinstance(new, bool) is isinstance(old, bool):
        return True
    if isinstance(new, bool) or isinstance(old, bool):
        return old is None and new is False  # omitempty: the server leaves a false out
    if old is None:
        # The server leaves out empty strings and, mostly, zeros.
        return (new in ("", 0) and not isinstance(new, str)) or new == ""
    if str(new) == str(old):
        return True
    if _is_quantity(path):
        left, right = _quantity(new), _quantity(old)
        return left is not None and left == right
    return False


def _is_quantity(path: Path) -> bool:
    return (len(path) > 1 and path[-2] in _QUANTITY_PARENTS) or (bool(path) and path[-1] in _QUANTITY_KEYS)


def _quantity(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(value).strip())
    if not match:
        return None
    number, suffix, exponent = match.groups()
    scale = _SUFFIXES[suffix] if suffix else Decimal(10) ** int(exponent or 0)
    return Decimal(number) * scale


def _is_nothing(value: Any) -> bool:
    """Null, {} and [] of ours say nothing; the server drops them."""
    if isinstance(value, Mapping):
        return not value
    return value is None or (isinstance(value, Sequence) and not isinstance(value, str | bytes) and not value)


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
