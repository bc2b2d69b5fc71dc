"""`events`: what the cluster says that happened."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from mlops_infra.cli.options import options_of

app = typer.Typer()


@app.command(epilog="Examples:  mlops-infra events  |  mlops-infra events --warnings --watch")
def events(
    ctx: typer.Context,
    watch: bool = typer.Option(False, "-w", "--watch", help="Go on until Ctrl-C; newest last."),
    warnings: bool = typer.Option(False, "--warnings", help="Only warnings."),
    interval: float = typer.Option(3.0, "--interval", min=0.5, help="Seconds between two looks of --watch."),
) -> None:
    """Show the cluster's events of all namespaces, newest first, those of one cause folded into one line.

    With --limit, only events that name these hosts.
    """
    from mlops_infra.app import events as use  # noqa: PLC0415
    from mlops_infra.app.platform import Asked, open_platform  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415
    from mlops_infra.ui.stream import events_text  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    with open_platform(
        Asked(options.config, options.lab),
        emit=lambda event: None,
        ask_sudo_password=lambda: out.ask_secret("sudo password"),
    ) as platform:
        if watch:
            for fresh in use.watch(platform, interval, out.aside, warnings=warnings, about=options.limit):
                out.text(events_text(fresh, None, out.style))
                out.answer(use.events_shape(fresh))
        found = use.fold(use.look_once(platform), warnings=warnings, about=options.limit)
        out.text(events_text(found, datetime.now(UTC), out.style))
        out.answer(use.events_shape(found))
