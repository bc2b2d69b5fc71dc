"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_infra.model.tree import Keys

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong (or, where `warning`, worth knowing) at a place of the document.

    `at_key` points at the key rather than at its value; of a `secret` neither value nor line is ever shown.
    """

    keys: Keys
    message: str
    hint: str = ""
    warning: bool = False
    at_key: bool = False
    secret: bool = False
