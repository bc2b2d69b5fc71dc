"""`mlops-infra mirror …`: a mirror of packages, images and files, for the lab and for sites without internet."""

from __future__ import annotations

import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlops_infra.cli.options import options_of
from mlops_infra.errors import UsageError

if TYPE_CHECKING:
    from mlops_infra.lab.mirror import MirrorPlan

__all__ = ["app"]

app = typer.Typer(help="A mirror of packages, images and files, for the lab and for sites without internet.")


class From(StrEnum):
    AUTO = "auto"
    SOURCE = "source"
    UPSTREAM = "upstream"


_DIRECTORY = typer.Argument(
    None, metavar="[DIRECTORY]", help="Default: the lab's, ~/.cache/mlops-infra/lab/mirror.", show_default=False
)


@app.command()
def build(
    ctx: typer.Context,
    directory: Path | None = _DIRECTORY,
    source: From = typer.Option(
        From.AUTO, "--from", help="Public homes, or Go modules and Debian packages; auto: what this machine reaches."
    ),
    homes: list[str] = typer.Option(
        [], "--home", metavar="PUBLIC=URL", help="Ask there for what begins with this public URL, such as a proxy."
    ),
    extra: list[str] = typer.Option(
        [], "--with", metavar="COMPONENT", help="Also this one: storage, metrics, monitoring, examples, traefik."
    ),
) -> None:
    """Fill a mirror, going on where an earlier run stopped.

    Versions are those of cluster.yaml where there is one, else the defaults.

    Examples:  mlops-infra mirror build  |  mlops-infra mirror build --from upstream --with monitoring /srv/mirror
    """
    from mlops_infra.lab.mirror import Homes, build_mirror, default_directory  # noqa: PLC0415
    from mlops_infra.ui import mirror as ui  # noqa: PLC0415
    from mlops_infra.ui.lab import progress  # noqa: PLC0415

    options = options_of(ctx)
    plan = _plan(options.config).with_components(*extra)
    if wrong := [pair for pair in homes if "=" not in pair]:
        raise UsageError(f"--home {wrong[0]}: it is PUBLIC=URL")
    instead = Homes(dict(pair.split("=", 1) for pair in homes))
    facts = build_mirror(directory or default_directory(), progress(), source.value, plan, instead)
    ui.show(facts, as_json=options.json)


@app.command()
def status(ctx: typer.Context, directory: Path | None = _DIRECTORY) -> None:
    """Show what a mirror holds, where it came from, and the key that signs it."""
    from mlops_infra.lab.mirror import default_directory, facts_of  # noqa: PLC0415
    from mlops_infra.ui import mirror as ui  # noqa: PLC0415

    ui.show(facts_of(directory or default_directory()), as_json=options_of(ctx).json)


@app.command()
def serve(
    directory: Path | None = _DIRECTORY,
    address: str = typer.Option(..., "--address", metavar="A", help="The address to listen on.", show_default=False),
    port: int = typer.Option(8080, "--port", help="Port of the packages and files."),
    registry_port: int = typer.Option(5000, "--registry-port", help="Port of the registry."),
) -> None:
    """Serve a mirror until Ctrl-C, and print the `mirrors:` section that cluster.yaml needs for it.

    Example:  mlops-infra mirror serve /srv/mirror --address 10.0.0.5
    """
    from mlops_infra.lab.mirror import MirrorServer, default_directory, facts_of  # noqa: PLC0415
    from mlops_infra.ui import mirror as ui  # noqa: PLC0415

    facts = facts_of(directory or default_directory())
    state = facts.directory / f"run-{port}-{registry_port}"
    server = MirrorServer(facts.directory, address, state=state, files_port=port, registry_port=registry_port)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        server.start()
        ui.show_served(facts, server)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _plan(config: Path) -> MirrorPlan:
    from mlops_infra.app.pinned import check_pinned  # noqa: PLC0415
    from mlops_infra.lab.mirror import MirrorPlan  # noqa: PLC0415
    from mlops_infra.model.load import load_cluster  # noqa: PLC0415

    return MirrorPlan.of(load_cluster(config, also=check_pinned).cluster) if config.exists() else MirrorPlan()
