"""`backup prune`: what retention takes away, here and at every place, once a good bundle was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlops_infra.app.backup_bundle import BundleError, identity_of, verify
from mlops_infra.app.backup_places import Shelf, open_shelf, prunable
from mlops_infra.app.backup_store import OBJECTS, Stored, bundles, directory_of, expired, remove
from mlops_infra.app.context import SiteContext
from mlops_infra.errors import InfraError
from mlops_infra.transport import Transport

__all__ = ["HERE", "Pruning", "plan_pruning", "prune"]

HERE = "here"


@dataclass(frozen=True, slots=True)
class Pruning:
    """What goes from one place, and what stays. `problem`: it could not be asked, or not be pruned."""

    place: str
    gone: tuple[Stored, ...] = ()
    kept: int = 0
    problem: InfraError | None = None


def plan_pruning(
    context: SiteContext, transport: Transport, identities: Sequence[Any], *, now: datetime | None = None
) -> tuple[Stored, tuple[Pruning, ...]]:
    """The newest good bundle, and what would go; saved objects are counted by themselves. Removes nothing.

    Raises BundleError where no bundle here can be opened whole: then the old ones may be all there is.
    """
    when = now or datetime.now(UTC)
    settings = context.cluster.backup
    found = bundles(directory_of(context.cluster, context.site), context.cluster.name)
    good = _good(found, context, identities)
    gone = expired(found, good.path, keep=settings.keep, keep_days=settings.keep_days, now=when)
    objects = bundles(directory_of(context.cluster, context.site), context.cluster.name, OBJECTS)
    if objects:
        gone += expired(objects, objects[0].path, keep=settings.keep, keep_days=settings.keep_days, now=when)
    planned = [Pruning(HERE, gone, len(found) + len(objects) - len(gone))]
    for place in context.cluster.backup.copies:
        try:
            names = open_shelf(place, context, transport).names()
            there = prunable(names, context, good.path.name, when)
            planned.append(Pruning(place.name, there, len(names) - len(there)))
        except InfraError as error:
            planned.append(Pruning(place.name, problem=error))
    return good, tuple(planned)


def _good(found: Sequence[Stored], context: SiteContext, identities: Sequence[Any]) -> Stored:
    """The newest that verifies."""
    last: BundleError | None = None
    for one in found:
        try:
            verify(one.path, identities, identity_of(context.cluster, context.site))
        except BundleError as error:
            last = last or error
            continue
        return one
    raise BundleError(
        "nothing is removed: no bundle here is good" if found else "there is no bundle here",
        details=last.brief if last else "",
        cause="Retention never takes the last good one, and none could be opened whole.",
        remedy="mlops-infra backup etcd",
    )


def prune(context: SiteContext, transport: Transport, planned: Sequence[Pruning]) -> tuple[Pruning, ...]:
    """Does it. One place that fails keeps no other from being pruned."""
    places = {place.name: place for place in context.cluster.backup.copies}
    done = []
    for one in planned:
        try:
            if one.place == HERE:
                left = {s.path for s in one.gone} - set(remove(one.gone))
                if left:
                    raise InfraError(f"{len(left)} files here could not be removed", details=", ".join(map(str, left)))
            elif one.gone:
                shelf: Shelf = open_shelf(places[one.place], context, transport)
                shelf.remove([s.path.name for s in one.gone])
            done.append(one)
        except InfraError as error:
            done.append(Pruning(one.place, (), one.kept + len(one.gone), error))
    return tuple(done)
