"""`plan`: what `up` would change, and why."""

from __future__ import annotations

from pathlib import Path

import typer

from mlops_infra.cli import flow
from mlops_infra.cli.options import options_of

app = typer.Typer()


@app.command(epilog="Examples:  mlops-infra plan  |  mlops-infra plan --json  |  mlops-infra plan --out plan.json")
def plan(
    ctx: typer.Context,
    out: Path | None = typer.Option(None, "--out", "-o", help="Save the plan, for `up FILE`.", metavar="FILE"),
    adopt: bool = typer.Option(False, "--adopt", help="Take over a cluster that mlops-infra did not build."),
) -> int:
    """Show what `up` would change, on which host, and why. Changes nothing.

    Exit codes: 0 there is nothing to do, 2 there is, 3 some hosts could not be judged, 4 nothing was reachable.
    """
    return flow.plan(options_of(ctx), out_file=out, adopt=adopt)
