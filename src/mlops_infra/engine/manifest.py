"""What a host says that we own on it: /var/lib/mlops-infra/manifest.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from mlops_infra import __version__
from mlops_infra.core import Change, Facts, Kind, PutFile
from mlops_infra.engine.observation import MANIFEST

__all__ = ["Manifest", "manifest_change", "read_manifest"]


_NOT_OWNED = "pending-handlers"


@dataclass(frozen=True, slots=True)
class Manifest:
    """`owned` are resource ids. None of this is ever a reason for a change: it is a record."""

    owned: frozenset[str] = frozenset()
    tool: str = ""
    last_run: str = ""
    cluster: str = ""


def read_manifest(facts: Facts) -> Manifest | None:
    """The manifest as it was observed; None where there is none, or where it is not one of ours."""
    text = facts.value(MANIFEST)
    if text is None:
        return None
    try:
        said = json.loads(text)
        return Manifest(frozenset(said["owned"]), said["tool"], said["last_run"], said["cluster"])
    except (ValueError, KeyError, TypeError):
        return None


def manifest_change(facts: Facts, owned: Iterable[str], *, run_id: str, cluster: str) -> Change:
    """The last action of an apply batch: what we own from now on, together with what we owned before."""
    before = read_manifest(facts)
    ours = {i for i in owned if not i.startswith(_NOT_OWNED)}
    ids = sorted(ours | (before.owned if before else frozenset()))
    said = {"cluster": cluster, "last_run": run_id, "tool": __version__, "owned": ids}
    content = (json.dumps(said, indent=1) + "\n").encode()
    return Change(
        resource=f"file:{MANIFEST.path}",
        title="manifest of what is ours",
        kind=Kind.UPDATE,
        reason="a batch was applied",
        actions=(PutFile(MANIFEST.path, content, mode=0o600),),
    )
