"""The groups for one part of the platform: `apply` is `up` limited to its phases and what they need."""

from __future__ import annotations

import typer

from mlops_infra.cli import flow
from mlops_infra.cli.flow import Part
from mlops_infra.cli.options import options_of

__all__ = ["group"]


def group(title: str, part: Part, *, has_status: bool = True) -> typer.Typer:
    """A group of commands with `apply`, and `status` where there is something of its own to see."""
    commands = typer.Typer(help=f"{title}.")
    phases = ", ".join(sorted(part.phases))

    @commands.command(help=f"`up`, limited to this and what it needs (phases: {phases}).")
    def apply(ctx: typer.Context) -> int:
        return flow.converge(options_of(ctx), part=part)

    if has_status:

        @commands.command()
        def status(ctx: typer.Context) -> int:
            """Show what is there now. Changes nothing."""
            return flow.status(options_of(ctx), part=part)

    @commands.callback()
    def _group() -> None:
        """A group stays one, even with a single command."""

    return commands
