"""YAML out of plain values, always the same text for the same value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["parse_documents", "to_yaml"]

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*")
_SPOKEN_FOR = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"}


def to_yaml(value: Any) -> str:
    """Block-style YAML of dicts, lists and scalars, keys in the order given.

    Strings that YAML 1.1 (what Kubernetes' programs read) would take for something else are quoted: `yes`, `1e3`, `0%`.
    """
    return "\n".join(_lines(value)) + "\n"


def parse_documents(text: str) -> list[dict[str, Any]]:
    """The non-empty documents of a YAML stream (release manifests), or of the JSON list that `as_json` made of it."""
    if text.startswith("[{"):
        found: list[dict[str, Any]] = json.loads(text)
        return found
    from ruamel.yaml import YAML  # noqa: PLC0415 - 40 ms that most commands need not spend

    return [document for document in YAML(typ="safe").load_all(text) if document]


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _entry(f"{_scalar(str(key))}:", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for inner in value:
            first, *rest = _lines(inner)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(head: str, value: Any) -> Iterator[str]:
    if value and isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        yield head
        yield from (f"  {line}" for line in _lines(value))
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _SPOKEN_FOR:
        return value
    return json.dumps(value, ensure_ascii=False)
