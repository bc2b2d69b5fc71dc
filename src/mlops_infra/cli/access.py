"""`access kubeconfig|list|revoke|apply`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Literal

import typer

from mlops_infra.cli import flow
from mlops_infra.cli.flow import Part
from mlops_infra.cli.options import options_of
from mlops_infra.cli.part import group
from mlops_infra.errors import ExitCode, UsageError

__all__ = ["app"]

PART = Part(frozenset({"access"}), ("nodes",))

app = group("Access for people: give it, list it, take it back", PART, has_status=False)


@app.command(epilog="Example:  mlops-infra access kubeconfig --role operator --for ada --expires 12h")
def kubeconfig(
    ctx: typer.Context,
    name: str = typer.Option(..., "--for", metavar="NAME", help="Whom it is for: a person, or a pipeline."),
    role: Literal["viewer", "operator"] = typer.Option(
        "viewer", "--role", help="viewer reads everything but Secrets; operator deploys in operator_namespaces."
    ),
    expires: str = typer.Option("30d", "--expires", metavar="SPAN", help="10m to 365d."),
    out_file: Path | None = typer.Option(None, "--out", metavar="FILE", help="Write it there (0600)."),
) -> int:
    """Make a kubeconfig for somebody: with a key of its own, for a role, until a date.

    The key is made on this machine and lies nowhere but in that file; the cluster signs a certificate for it.
    """
    from mlops_infra.app.access import parse_span  # noqa: PLC0415
    from mlops_infra.app.access_grant import grant  # noqa: PLC0415
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.ui.access import granted_shape, granted_text  # noqa: PLC0415

    options, span = options_of(ctx), parse_span(expires)
    out = flow.output_of(options)
    context = open_site(options.config, options.lab)
    with closing(transport_of(context, flow.asker(out))) as transport:
        done = grant(context, transport, name, role, span, out=out_file)
    out.text(granted_text(done, out.style))
    out.answer(granted_shape(done))
    return ExitCode.DONE


@app.command("list")
def list_(ctx: typer.Context) -> int:
    """Show who has access, until when, and what of it can be taken back before."""
    from mlops_infra.app.access import look  # noqa: PLC0415
    from mlops_infra.ui.access import register_shape, register_text  # noqa: PLC0415

    flow.show(options_of(ctx), look, register_text, register_shape)
    return ExitCode.DONE


@app.command(epilog="Examples:  mlops-infra access revoke ada  |  mlops-infra access revoke --expired")
def revoke(
    ctx: typer.Context,
    wanted: list[str] = typer.Argument(None, metavar="[NAME|ID]...", help="A person's whole access, or one of it."),
    expired: bool = typer.Option(False, "--expired", help="Tidy up: what has ended by itself."),
) -> int:
    """Take access back at once. Says what outlives it: a certificate proves a name until it expires.

    Exit 2: something else than our bindings still gives one of these users rights.
    """
    from mlops_infra.app.access import chosen, look  # noqa: PLC0415
    from mlops_infra.app.access_grant import revoke as take_back  # noqa: PLC0415
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.ui.access import revoked_shape, revoked_text  # noqa: PLC0415

    if not wanted and not expired:
        raise UsageError("Whose access?", remedy="Name a person or an id, or --expired; `access list` shows them.")
    options = options_of(ctx)
    out = flow.output_of(options)
    with open_platform(flow.asked_of(options), emit=flow.Relay(), ask_sudo_password=flow.asker(out)) as platform:
        register = look(platform)
        context = platform.context
    grants = chosen(register, wanted or (), expired=expired)
    for one in grants:
        out.aside(f"· {one.name}: {one.role}, {one.id}, until {one.expires:%Y-%m-%d %H:%M} UTC")
    if grants and not out.confirm("Take this back?", yes=options.yes):
        out.aside("Nothing was changed.")
        return ExitCode.FAILED
    with closing(transport_of(context, flow.asker(out))) as transport:
        done = take_back(context, transport, grants, register.at)
    out.text(revoked_text(done, out.style) if grants else "There is nothing to take back.")
    out.answer(revoked_shape(done))
    return ExitCode.CHANGES if done.more else ExitCode.DONE
