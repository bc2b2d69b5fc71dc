"""`status`: what is there now."""

from __future__ import annotations

import typer

from mlops_infra.cli import flow
from mlops_infra.cli.options import options_of

app = typer.Typer()


@app.command()
def status(ctx: typer.Context) -> int:
    """Show nodes, versions, endpoint, load balancer and etcd members. Changes nothing."""
    return flow.status(options_of(ctx))
