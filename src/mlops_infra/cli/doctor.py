"""`doctor`: what is wrong, why, and the command that mends it."""

from __future__ import annotations

import typer

from mlops_infra.cli.options import options_of

app = typer.Typer()


@app.command(epilog="Examples:  mlops-infra doctor  |  mlops-infra doctor --only etcd,lb  |  mlops-infra doctor --json")
def doctor(
    ctx: typer.Context,
    only: list[str] = typer.Option([], "--only", metavar="AREA", help="Only these areas or checks (etcd,lb)."),
) -> int:
    """Examine the platform: what is wrong, most urgent first, why, and the command that mends it. Changes nothing.

    Exit codes: 0 healthy, 2 findings, 3 some hosts could not be reached, 4 none. Advice is no finding.
    """
    from mlops_infra.app.doctor import chosen_checks, diagnosis_shape, examine  # noqa: PLC0415
    from mlops_infra.app.platform import Asked, open_platform  # noqa: PLC0415
    from mlops_infra.ui.doctor import diagnosis_text  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    wanted = chosen_checks(only)
    with open_platform(
        Asked(options.config, options.lab, options.limit),
        emit=lambda event: None,
        ask_sudo_password=lambda: out.ask_secret("sudo password"),
    ) as platform:
        found = examine(platform, wanted)
    out.text(diagnosis_text(found, out.style, all_lines=options.verbose > 0))
    out.answer(diagnosis_shape(found))
    return found.exit_code
