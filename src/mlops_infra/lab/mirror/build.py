"""Filling a mirror: from its public homes or from source, whichever this machine can use."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from mlops_infra.core import Emit
from mlops_infra.lab.mirror.apt_repository import check_repository
from mlops_infra.lab.mirror.homes import Homes
from mlops_infra.lab.mirror.layout import MirrorLayout
from mlops_infra.lab.mirror.progress import MirrorError, say_through
from mlops_infra.lab.mirror.source import fill_from_source
from mlops_infra.lab.mirror.upstream import fill_from_upstream
from mlops_infra.lab.mirror.versions import MirrorPlan

__all__ = ["MirrorFacts", "Source", "build_mirror", "ensure_built", "facts_of", "usable_source"]

Source = Literal["auto", "source", "upstream"]

PROBE_URL = "https://registry.k8s.io/v2/"
PROBE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class MirrorFacts:
    """A finished mirror. `key_file` is the public key that signs its apt repositories, `fingerprint` that key's."""

    directory: Path
    source: str
    fingerprint: str
    key_file: Path
    images: tuple[str, ...]
    codenames: tuple[str, ...]
    packages: dict[str, tuple[str, ...]]
    """File names by codename."""
    files: tuple[str, ...]


def usable_source(probe: str = PROBE_URL, deadline: float = PROBE_SECONDS) -> Literal["source", "upstream"]:
    """One bounded question: is the registry of Kubernetes reachable from here?"""
    request = urllib.request.Request(probe, method="HEAD")  # noqa: S310  (a constant https URL)
    try:
        with urllib.request.urlopen(request, timeout=deadline):  # noqa: S310
            return "upstream"
    except urllib.error.HTTPError as error:
        with error:
            # 401 is how a registry greets; a proxy that forbids says 403 or 407.
            return "upstream" if error.code == 401 else "source"
    except (OSError, ValueError):
        return "source"


def ensure_built(
    directory: Path, emit: Emit | None = None, source: Source = "auto", plan: MirrorPlan | None = None
) -> MirrorFacts:
    """A mirror that holds at least the plan, built now if it does not yet. Costs milliseconds when it does."""
    layout = MirrorLayout(directory)
    plan = plan or MirrorPlan()
    if _holds(layout, plan, source):
        return facts_of(directory)
    # What somebody added by name stays: the lab asks for the least, and must not take it away.
    there = {name for held in layout.note().get("held", ()) for name in held["components"]}
    return build_mirror(directory, emit, source, plan.with_components(*there))


def build_mirror(
    directory: Path,
    emit: Emit | None = None,
    source: Source = "auto",
    plan: MirrorPlan | None = None,
    homes: Homes | None = None,
) -> MirrorFacts:
    """Fills the mirror, going on where an earlier run stopped. One build of a directory at a time: another waits.

    `homes` says where upstream is, if not at its public addresses."""
    say = say_through(emit)
    plan = plan or MirrorPlan()
    layout = MirrorLayout(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        chosen = source
        if source == "auto":
            chosen = usable_source()
            reach = "reachable" if chosen == "upstream" else f"not reachable within {PROBE_SECONDS:.0f} s"
            say(f"the public registries are {reach}: building the mirror from {chosen}")
        began = time.monotonic()
        if chosen == "upstream":
            fill_from_upstream(layout, plan, say, homes)
        else:
            plan = plan.from_source()
            fill_from_source(layout, plan, say)
        for codename in plan.codenames:
            check_repository(layout.repository(codename).directory)
        fingerprint = layout.signing_key.ensure()
        layout.write_note(_note(layout, plan, chosen, fingerprint))
        say(f"mirror ready in {directory} after {time.monotonic() - began:.0f} s")
    return facts_of(directory)


def facts_of(directory: Path) -> MirrorFacts:
    """What a finished mirror is. Raises MirrorError when there is none."""
    layout = MirrorLayout(directory)
    note = layout.note()
    if not note:
        raise MirrorError(f"no finished mirror in {directory}", remedy="mlops-infra mirror build")
    return MirrorFacts(
        directory=directory,
        source=note["source"],
        fingerprint=note["fingerprint"],
        key_file=layout.key_file,
        images=layout.registry.references(),
        codenames=tuple(note["codenames"]),
        packages={name: layout.repository(name).packages() for name in note["codenames"]},
        files=tuple(sorted(str(path.relative_to(layout.files)) for path in layout.files.rglob("*") if path.is_file())),
    )


def _note(layout: MirrorLayout, plan: MirrorPlan, source: str, fingerprint: str) -> dict[str, object]:
    """What is noted of a finished mirror: this plan beside those that it held before, made the same way."""
    before, made_by = layout.note(), _made_by()
    alike = before.get("made_by") == made_by and before.get("source") == source
    held = [one for one in before.get("held", ()) if alike and one["versions"] != plan.describe()["versions"]]
    return {
        "source": source,
        "fingerprint": fingerprint,
        "made_by": made_by,
        "codenames": list(plan.codenames),
        "held": [*held, plan.describe()],
    }


def _holds(layout: MirrorLayout, plan: MirrorPlan, source: Source) -> bool:
    note = layout.note()
    if note.get("made_by") != _made_by() or source not in ("auto", note.get("source")):
        return False
    if not any(plan.is_within(held) for held in note.get("held", ())):
        return False
    return (
        layout.key_file.exists()
        and set(plan.images) <= set(layout.registry.references())
        and all(layout.repository(name).has("kubelet", "haproxy") for name in plan.codenames if plan.has_packages)
    )


def _made_by() -> str:
    """The digest of this package's own sources: when the way things are made changes, the mirror is looked at again
    (and most of it found in the cache)."""
    digest = hashlib.sha256()
    home = files("mlops_infra.lab.mirror")
    for folder in (home, home.joinpath("stand_ins"), home.joinpath("stand_ins", "lua")):
        for entry in sorted(folder.iterdir(), key=lambda one: one.name):
            # How a mirror is served does not change what it holds.
            if entry.is_file() and entry.name not in {"httpd.py", "server.py", "__init__.py", "progress.py"}:
                digest.update(entry.name.encode() + entry.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
