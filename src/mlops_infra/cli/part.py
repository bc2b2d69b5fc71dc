"""The groups for one part of the platform: `apply` is `up` limited to its phases and what they need."""

from __future__ import annotations

import typer

from mlops_infra.cli import flow
from mlops_infra.cli.options import options_of

__all__ = ["part"]


def part(
    title: str, phases: tuple[str, ...], *, shows: tuple[str, ...] = (), roles: tuple[str, ...] = ()
) -> typer.Typer:
    """A group with `apply`, and with `status` where it `shows` something."""
    group = typer.Typer(help=f"{title}.")

    @group.command()
    def apply(ctx: typer.Context) -> int:
        return flow.converge(options_of(ctx), phases=frozenset(phases))

    apply.__doc__ = f"`up`, limited to this and what it needs. Phases: {', '.join(phases)}."
    group.registered_commands[-1].help = apply.__doc__

    if shows:

        @group.command()
        def status(ctx: typer.Context) -> int:
            """Show what is there now. Changes nothing."""
            return flow.status(options_of(ctx), parts=shows, roles=roles)

    return group
