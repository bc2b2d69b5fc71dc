"""`status`: what is there now, on one screen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

import typer

from mlops_infra.cli.options import Options, options_of
from mlops_infra.errors import ExitCode, InfraError, UsageError

if TYPE_CHECKING:
    from mlops_infra.app.picture import Picture
    from mlops_infra.ui.output import Output

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
    from mlops_infra.app.picture import picture_shape  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415
    from mlops_infra.ui.status_screen import picture_text  # noqa: PLC0415

    options = options_of(ctx)
    _check(options, watch=watch)
    out = Output(as_json=options.json, verbose=options.verbose)
    picture = _look(options, out)
    if watch:
        _watch(options, out, picture, interval)
    out.text(picture_text(picture, out.style))
    out.answer(picture_shape(picture))
    code = picture.diagnosis.exit_code
    return code if code in (ExitCode.PARTLY, ExitCode.UNREACHABLE) else ExitCode.DONE


def _look(options: Options, out: Output) -> Picture:
    from mlops_infra.app.picture import picture_of  # noqa: PLC0415
    from mlops_infra.app.platform import Asked, open_platform  # noqa: PLC0415

    with open_platform(
        Asked(options.config, options.lab, options.limit),
        emit=lambda event: None,
        ask_sudo_password=lambda: out.ask_secret("sudo password"),
    ) as platform:
        return picture_of(platform)


def _watch(options: Options, out: Output, picture: Picture, interval: float) -> NoReturn:
    """Until Ctrl-C. A look that fails (cluster.yaml is being edited) is told in its place, and the next one tried."""
    from mlops_infra.app.ending import ended_by_sigterm  # noqa: PLC0415
    from mlops_infra.ui.errors import compose  # noqa: PLC0415
    from mlops_infra.ui.screen import Screen  # noqa: PLC0415
    from mlops_infra.ui.status_screen import watched_text  # noqa: PLC0415

    text = watched_text(picture, out.style, interval)
    with ended_by_sigterm(), Screen(out.out, out.redact) as screen:
        while True:
            screen.show(text)
            time.sleep(interval)
            try:
                text = watched_text(_look(options, out), out.style, interval)
            except InfraError as error:
                text = compose(error, out.style)


def _check(options: Options, *, watch: bool) -> None:
    if watch and options.json:
        raise UsageError("--watch shows a screen: there is no --json of it", remedy="Leave one of them out.")
