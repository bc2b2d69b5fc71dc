"""The last line of defence: known secrets never leave in any text that is shown or logged.

Secrets are a type (core.Secret) and mask themselves; this catches one that got into a tool's own output.
"""

from __future__ import annotations

import re

from mlops_infra.core.secret import MASK, SHAPES, Secret

__all__ = ["Redactor", "redact"]

_SHAPES = (
    *SHAPES,
    re.compile(r"(?<=--certificate-key )[0-9a-f]{64}"),
    re.compile(r"(?<=client-key-data: )[A-Za-z0-9+/=]+"),
)
_SHORTEST = 4
"""Shorter "secrets" would mask ordinary words."""


class Redactor:
    """Masks the shapes of well-known secrets, and the texts it was told of."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def learn(self, secret: Secret) -> None:
        text = secret.reveal()
        if len(text) >= _SHORTEST:
            self._known.add(text)

    def __call__(self, text: str) -> str:
        for known in sorted(self._known, key=len, reverse=True):
            text = text.replace(known, MASK)
        for shape in _SHAPES:
            text = shape.sub(MASK, text)
        return text


def redact(text: str) -> str:
    """Masks what looks like a secret."""
    return Redactor()(text)
