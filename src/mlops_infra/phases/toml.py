"""TOML out of nested dicts, for containerd's config.toml: tables, strings, numbers, booleans and lists of those."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["deep_merged", "to_toml"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(document: Mapping[str, Any]) -> str:
    """The document as TOML 1.0; keys in the order given, scalars of a table before its sub-tables.

    Raises TypeError for what TOML has no word for (None) or what this file never needs (lists of tables).
    """
    return "\n".join(_table(document, ())).strip("\n") + "\n"


def deep_merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """`theirs` over `ours`: mappings merge key by key, anything else is replaced."""
    merged = dict(ours)
    for key, value in theirs.items():
        known = merged.get(key)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        merged[key] = deep_merged(known, value) if both and known is not None else value
    return merged


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    scalars = {k: v for k, v in table.items() if not isinstance(v, Mapping)}
    if path and (scalars or not table):
        yield ""
        yield f"[{'.'.join(map(_key, path))}]"
    for key, value in scalars.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _table(value, (*path, str(key)))


def _key(key: object) -> str:
    text = str(key)
    return text if _BARE.fullmatch(text) else _text(text)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(inner) for inner in value)}]"
    raise TypeError(f"TOML has no place for {value!r} here")


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
