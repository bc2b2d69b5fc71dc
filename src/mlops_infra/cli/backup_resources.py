"""`backup resources` and `backup put-back`: Kubernetes objects as files, and back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import typer

from mlops_infra.cli.options import options_of
from mlops_infra.errors import ExitCode, UsageError

__all__ = ["put_back", "resources"]


def resources(
    ctx: typer.Context,
    tree: Path | None = typer.Option(None, "--tree", metavar="DIR", help="Also as plain files there, without Secrets."),
) -> int:
    """Save every Kubernetes object of every kind that can be listed, one file an object, encrypted.

    What the server adds (status, uids, times) is stripped; what controllers make (ReplicaSets, their pods, endpoints)
    lies apart. With --tree the files also lie in DIR, for `kubectl apply -R -f DIR/objects`; Secrets never do.
    Exit 3: some kinds could not be listed.

    Examples:  mlops-infra backup resources  |  mlops-infra backup resources --tree objects-of-today
    """
    from mlops_infra.app.backup_resources import save  # noqa: PLC0415
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.ui.backup_resources import saved_shape, saved_text  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    context = open_site(options.config, options.lab)
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        done = save(context, transport, tree=tree)
    out.text(saved_text(done, out.style))
    out.answer(saved_shape(done))
    return ExitCode.PARTLY if done.failed else ExitCode.DONE


def put_back(
    ctx: typer.Context,
    *,
    file: str = typer.Argument("last", help="A file of `backup resources`, or `last`."),
    namespaces: list[str] = typer.Option([], "-n", "--namespace", metavar="NS", help="All of this namespace."),
    objects: list[str] = typer.Option(
        [], "--object", metavar="NS/KIND/NAME", help="This object; KIND/NAME where it is of the cluster."
    ),
    everything: bool = typer.Option(False, "--all", help="Everything that was saved."),
    keys: list[Path] = typer.Option([], "--key", metavar="FILE", help="A private key of age; default: the site's."),
    any_cluster: bool = typer.Option(False, "--any-cluster", help="Whichever cluster it is of."),
) -> int:
    """Put saved objects back: one, a namespace, or all. Shows what differs first, and asks.

    What is missing is created, what differs is replaced; what came since stays. Exit 2: something still differs.

    Examples:  mlops-infra backup put-back -n shop  |  mlops-infra backup put-back --object shop/ConfigMap/prices
    """
    from mlops_infra.app.backup_objects import Kept  # noqa: PLC0415
    from mlops_infra.app.backup_resources import Wanted, differences, fetch, read_objects  # noqa: PLC0415
    from mlops_infra.app.backup_resources import put_back as restore_objects  # noqa: PLC0415
    from mlops_infra.app.context import SiteContext, open_site  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.cli.backup import identities_of  # noqa: PLC0415
    from mlops_infra.ui.backup_resources import differences_shape, differences_text  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    def chosen(context: SiteContext) -> list[Kept]:
        path = _file_named(context, file)
        saved = read_objects(path, identities_of(context, keys), None if any_cluster else context)
        wanted = Wanted(frozenset(namespaces), frozenset(objects))
        found = [one for one in saved if wanted.takes(one)]
        if not found:
            raise UsageError(
                f"nothing in {path} is what you ask for", remedy="`backup put-back --all` shows all that differs."
            )
        return found

    if everything == bool(namespaces or objects):
        raise UsageError("say what is to be put back", remedy="--namespace NS, --object NS/KIND/NAME, or --all")
    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    context = open_site(options.config, options.lab)
    kept = chosen(context)
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        found = differences(kept, fetch(context, transport)[2].objects)
        if not found:
            out.text(f"Nothing to put back: {len(kept)} objects are as they were saved.")
            out.answer({"changes": [], "left": []})
            return ExitCode.DONE
        out.text(differences_text(found, out.style, all_lines=options.verbose > 0))
        if not out.confirm("Go on?", yes=options.yes):
            out.aside("Nothing was changed.")
            return ExitCode.FAILED
        left = restore_objects(context, transport, found, out.aside)
    out.text(f"{len(found) - len(left)} of {len(found)} are as they were saved.")
    if left:
        out.text("still different:\n" + differences_text(left, out.style))
    out.answer({"changes": differences_shape(found), "left": differences_shape(left)})
    return ExitCode.CHANGES if left else ExitCode.DONE


def _file_named(context: object, name: str) -> Path:
    """Raises UsageError when there is no such file."""
    from mlops_infra.app.backup_store import OBJECTS, bundles, directory_of  # noqa: PLC0415

    directory = directory_of(context.cluster, context.site)  # type: ignore[attr-defined]
    if name == "last":
        found = bundles(directory, context.cluster.name, OBJECTS)  # type: ignore[attr-defined]
        if found:
            return found[0].path
        raise UsageError(f"there are no saved objects in {directory} yet", remedy="mlops-infra backup resources")
    for path in (Path(name), directory / name):
        if path.is_file():
            return path
    raise UsageError(f"there is no file {name}", remedy=f"ls {directory}/*{OBJECTS}")
