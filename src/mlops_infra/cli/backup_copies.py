"""`backup copy|copies|fetch|prune`: bundles at other places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mlops_infra.cli.options import options_of
from mlops_infra.errors import ExitCode, InfraError, UsageError

if TYPE_CHECKING:
    from mlops_infra.app.context import SiteContext
    from mlops_infra.transport import Transport
    from mlops_infra.ui.output import Output

__all__ = ["copies", "copy", "fetch", "prune"]

_KEYS = typer.Option([], "--key", metavar="FILE", help="A private key of age (again for more); default: the site's.")


def copy(ctx: typer.Context, bundle: str = typer.Argument("last", help="A file, the name of one, or `last`.")) -> int:
    """Copy a bundle to every place of cluster.yaml (backup.copies). `backup etcd` does so by itself.

    What lies there already stays. Exit 3: a place did not take it.
    """
    from mlops_infra.app.backup_places import copy_to_all  # noqa: PLC0415
    from mlops_infra.cli.backup import bundle_named  # noqa: PLC0415
    from mlops_infra.ui.backup_copies import sent_shape, sent_text  # noqa: PLC0415

    with _opened(ctx) as (out, context, transport):
        if not context.cluster.backup.copies:
            raise UsageError("cluster.yaml names no place for copies", remedy="Name one under backup.copies.")
        path = bundle_named(context, bundle)
        sent = copy_to_all(path, context, transport)
    out.text(f"{path}\n{sent_text(sent, out.style)}")
    out.answer({"bundle": str(path), "copies": sent_shape(sent)})
    return ExitCode.PARTLY if any(s.problem for s in sent) else ExitCode.DONE


def copies(ctx: typer.Context) -> int:
    """Show what lies at the places of cluster.yaml. Exit 3: one could not be asked."""
    from mlops_infra.app.backup_places import open_shelf  # noqa: PLC0415
    from mlops_infra.app.backup_store import Stored, newest_first, stored_of  # noqa: PLC0415
    from mlops_infra.ui.backup_copies import copies_shape, copies_text  # noqa: PLC0415

    found: dict[str, tuple[Stored, ...] | InfraError] = {}
    with _opened(ctx) as (out, context, transport):
        for place in context.cluster.backup.copies:
            try:
                names = open_shelf(place, context, transport).names()
                found[place.name] = newest_first(s for n, size in names if (s := stored_of(Path(n), size)))
            except InfraError as error:
                found[place.name] = error
    out.text(copies_text(found, out.style))
    out.answer(copies_shape(found))
    return ExitCode.PARTLY if any(isinstance(f, InfraError) for f in found.values()) else ExitCode.DONE


def fetch(
    ctx: typer.Context,
    place: str = typer.Argument(..., help="A place of cluster.yaml.", show_default=False),
    name: str = typer.Argument("last", help="The name of a bundle there, or `last`."),
    keys: list[Path] = _KEYS,
) -> int:
    """Take a bundle from a place into the directory of backups, and verify it.

    Example:  mlops-infra backup fetch vault
    """
    from mlops_infra.app.backup_bundle import verify  # noqa: PLC0415
    from mlops_infra.app.backup_places import shelf_named  # noqa: PLC0415
    from mlops_infra.app.backup_store import directory_of, newest_first, staged, stored_of  # noqa: PLC0415
    from mlops_infra.cli.backup import identities_of  # noqa: PLC0415

    with _opened(ctx) as (out, context, transport):
        shelf = shelf_named(place, context, transport)
        found = newest_first(s for n, size in shelf.names() if (s := stored_of(Path(n), size)))
        mine = [s for s in found if s.path.name == name or (name == "last" and s.cluster == context.cluster.name)]
        if not mine:
            raise UsageError(f"there is no bundle {name!r} at {place}", remedy="mlops-infra backup copies")
        target = directory_of(context.cluster, context.site) / mine[0].path.name
        if target.exists():
            raise UsageError(f"{target} is here already", remedy=f"mlops-infra backup verify {target.name}")
        with staged(target.parent) as part:
            shelf.get(mine[0].path.name, part)
            verify(part, identities_of(context, keys))
            part.rename(target)
    out.text(f"{target}: every byte is what was put in")
    out.answer({"bundle": str(target), "ok": True})
    return ExitCode.DONE


def prune(ctx: typer.Context, keys: list[Path] = _KEYS) -> int:
    """Remove what retention (backup.keep, backup.keep_days) does not keep, here and at every place. Asks first.

    The newest bundle that can be opened whole stays everywhere; where none can, nothing goes. Files of `backup
    resources` are counted by themselves. Exit 3: a place could not be pruned.
    """
    from mlops_infra.app.backup_prune import plan_pruning  # noqa: PLC0415
    from mlops_infra.app.backup_prune import prune as remove  # noqa: PLC0415
    from mlops_infra.cli.backup import identities_of  # noqa: PLC0415
    from mlops_infra.ui.backup_copies import pruning_shape, pruning_text  # noqa: PLC0415

    with _opened(ctx) as (out, context, transport):
        good, planned = plan_pruning(context, transport, identities_of(context, keys))
        out.text(pruning_text(good, planned, out.style))
        done = planned
        if any(one.gone for one in planned):
            if not out.confirm("Remove them?", yes=options_of(ctx).yes):
                out.aside("Nothing was removed.")
                return ExitCode.FAILED
            done = remove(context, transport, [one for one in planned if one.problem is None])
            done += tuple(one for one in planned if one.problem is not None)
            trouble = [
                one for one in done if one.problem is not None and one.problem not in [p.problem for p in planned]
            ]
            if trouble:
                out.text(pruning_text(good, trouble, out.style))
    out.answer(pruning_shape(good, done))
    return ExitCode.PARTLY if any(one.problem for one in done) else ExitCode.DONE


@contextmanager
def _opened(ctx: typer.Context) -> Iterator[tuple[Output, SiteContext, Transport]]:
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    context = open_site(options.config, options.lab)
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        yield out, context, transport
