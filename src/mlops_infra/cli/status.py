"""`status`: what is there now, on one screen."""

from __future__ import annotations

import time

import typer

from mlops_infra.cli.options import Options, options_of
from mlops_infra.errors import ExitCode, UsageError

app = typer.Typer()


@app.command(epilog="Examples:  mlops-infra status  |  mlops-infra status --watch")
def status(
    ctx: typer.Context,
    watch: bool = typer.Option(False, "-w", "--watch", help="Look again and again until Ctrl-C."),
    interval: float = typer.Option(5.0, "--interval", min=1.0, help="Seconds between two looks of --watch."),
) -> int:
    """Show nodes, versions, endpoint, load balancer, etcd, addresses, add-ons, certificates, the last backup, findings.

    Changes nothing. Exit codes: 0, also with findings (`doctor` tells those apart); 3, 4 some or all hosts are silent.
    """
    from mlops_infra.app.picture import picture_of, picture_shape  # noqa: PLC0415
    from mlops_infra.app.platform import Asked, open_platform  # noqa: PLC0415
    from mlops_infra.ui.console import is_terminal  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415
    from mlops_infra.ui.status_screen import CLEAR, picture_text  # noqa: PLC0415

    options = options_of(ctx)
    _check(options, watch=watch)
    out = Output(as_json=options.json, verbose=options.verbose)
    while True:
        with open_platform(
            Asked(options.config, options.lab, options.limit),
            emit=lambda event: None,
            ask_sudo_password=lambda: out.ask_secret("sudo password"),
        ) as platform:
            picture = picture_of(platform)
        out.text((CLEAR if watch and is_terminal(out.out) else "") + picture_text(picture, out.style))
        out.answer(picture_shape(picture))
        if not watch:
            code = picture.diagnosis.exit_code
            return code if code in (ExitCode.PARTLY, ExitCode.UNREACHABLE) else ExitCode.DONE
        time.sleep(interval)


def _check(options: Options, *, watch: bool) -> None:
    if watch and options.json:
        raise UsageError("--watch shows a screen: there is no --json of it", remedy="Leave one of them out.")
