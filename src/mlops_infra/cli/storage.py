"""`storage apply|status`."""

from __future__ import annotations

import typer

from mlops_infra.cli import flow
from mlops_infra.cli.flow import Part
from mlops_infra.cli.options import options_of
from mlops_infra.cli.part import group
from mlops_infra.errors import ExitCode

__all__ = ["app"]

app = group("Volumes that pods can claim", Part(frozenset({"storage"}), ("nodes",), ("worker",)), has_status=False)


@app.command(epilog="Examples:  mlops-infra storage status  |  mlops-infra storage status --json")
def status(ctx: typer.Context) -> int:
    """Show classes, claims and where their volumes lie. Changes nothing.

    Exit codes: 0 shown, 4 no API server answers.
    """
    from mlops_infra.app.storage import look  # noqa: PLC0415
    from mlops_infra.ui.storage import state_shape, state_text  # noqa: PLC0415

    flow.show(options_of(ctx), look, state_text, state_shape)
    return ExitCode.DONE
