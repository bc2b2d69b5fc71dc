"""Answers to probes, read strictly: a truncated answer is a fault of the way, never 'absent'."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlops_infra.core.facts import Facts
from mlops_infra.core.probe import Probe

__all__ = ["parse_answers"]


def parse_answers(stdout: bytes, probes: Iterable[Probe[Any]], nonce: str) -> Facts:
    """Raises transport.errors.TruncatedAnswer unless it begins, ends and counts as it should."""
    raise NotImplementedError
