"""Texts that changes are shown with, and small helpers that resources share."""

from __future__ import annotations

import difflib
import hashlib
import shlex
from collections.abc import Iterable

__all__ = ["digest", "quote", "shown_lines", "transition", "unified"]

_DIFF_LINES = 400
_SHOWN_BYTES = 262_144

quote = shlex.quote


def digest(content: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(content).hexdigest()


def transition(name: str, old: object, new: object) -> str:
    """One `field: old → new` line."""
    return f"{name}: {old} → {new}"


def shown_lines(content: bytes) -> list[str] | None:
    """Lines fit for a diff, None for what is no text or too large to be read by a person."""
    if len(content) > _SHOWN_BYTES or b"\0" in content:
        return None
    try:
        return content.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None


def unified(old: Iterable[str], new: Iterable[str], path: str) -> str:
    """A unified diff of lines, cut after some hundred lines with a word about the rest."""
    lines: list[str] = []
    for line in difflib.unified_diff(list(old), list(new), f"{path} (now)", f"{path} (wanted)", n=3):
        lines.append(line.rstrip("\n"))
        if not line.endswith("\n"):
            lines.append("\\ No newline at end of file")
    if len(lines) > _DIFF_LINES:
        rest = len(lines) - _DIFF_LINES
        lines = [*lines[:_DIFF_LINES], f"… {rest} more lines"]
    return "\n".join(lines)
