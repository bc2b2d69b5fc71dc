"""`backup drill`: is it really a backup?"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import typer

from mlops_infra.cli.options import options_of

__all__ = ["drill"]


def drill(
    ctx: typer.Context,
    bundle: str = typer.Argument("last", help="A file, the name of one, or `last`."),
    on: str = typer.Option("", "--on", metavar="MASTER", help="On this master; default: the last of the file."),
    keys: list[Path] = typer.Option([], "--key", metavar="FILE", help="A private key of age; default: the site's."),
) -> int:
    """Restore a bundle for real, into a throw-away etcd and API server on a master, and compare what came back.

    Both are containers without a network, limited in memory and CPU; nothing that serves is touched and nothing stays.
    Tells how long it took and how old the data is. Exit 2: something of the bundle did not come back.

    Example:  mlops-infra backup drill
    """
    from mlops_infra.app.backup import Steps  # noqa: PLC0415
    from mlops_infra.app.backup_drill import run_drill  # noqa: PLC0415
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.cli.backup import bundle_named, identities_of  # noqa: PLC0415
    from mlops_infra.ui.backup import STEPS  # noqa: PLC0415
    from mlops_infra.ui.backup_drill import drill_shape, drill_text  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    context = open_site(options.config, options.lab)
    path, opened = bundle_named(context, bundle), identities_of(context, keys)
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        steps = Steps(lambda step: out.aside(f"{out.style.dim('·')} {STEPS.get(step, step)}"))
        done = run_drill(context, transport, path, opened, steps, on=on or None)
    out.text(drill_text(done, out.style))
    out.answer(drill_shape(done))
    return done.exit_code
