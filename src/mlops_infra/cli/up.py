"""`up`: make the platform what cluster.yaml says."""

from __future__ import annotations

from pathlib import Path

import typer

from mlops_infra.cli.flow import converge
from mlops_infra.cli.options import options_of

app = typer.Typer()


@app.command(epilog="Examples:  mlops-infra up  |  mlops-infra up --yes --limit worker4  |  mlops-infra up plan.json")
def up(
    ctx: typer.Context,
    plan: Path | None = typer.Argument(None, help="A plan from `plan --out`: it and no other is applied, unasked."),
    adopt: bool = typer.Option(False, "--adopt", help="Take over a cluster that mlops-infra did not build."),
    no_smoke: bool = typer.Option(False, "--no-smoke", help="Do not try the platform out at the end."),
) -> int:
    """Make the platform what cluster.yaml says.

    Shows the plan and asks, unless --yes; then applies it, checks what it wrote, and reports; where it changed
    something it ends with a smoke test. Run it again after a failure: it goes on from where it ended. Exit codes:
    0 done, 1 failed, 2 done but the smoke test fails, 3 done on some hosts or a problem is left, 4 nothing reachable.
    """
    return converge(options_of(ctx), saved=plan, adopt=adopt, smoke=not no_smoke)
