"""What no single key can tell: whether the parts of a cluster fit one another. Pure; one function an idea."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.tree import Keys

__all__ = ["Finding", "check"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong (or, where `warning`, worth knowing) at a place of the document."""

    keys: Keys
    message: str
    hint: str = ""
    warning: bool = False
    at_key: bool = False
    offending: str = ""


def check(cluster: Cluster, document: Mapping[str, Any], *, today: date) -> Iterator[Finding]:
    """All findings; `document` tells what was written from what is a default."""
    yield from ()
