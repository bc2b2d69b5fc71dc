"""`backup schedule`: the masters' own timer."""

from __future__ import annotations

import typer

from mlops_infra.cli.flow import Part, converge
from mlops_infra.cli.options import options_of
from mlops_infra.errors import UsageError

__all__ = ["schedule"]

_EXAMPLE = """\
Add to cluster.yaml, then run this again:

backup:
  schedule:
    enabled: true
    calendar: "*-*-* 02:00:00"
    delay: 15min"""


def schedule(
    ctx: typer.Context,
    off: bool = typer.Option(False, "--off", help="Take the timer away: `backup.schedule.enabled` is false by now."),
) -> int:
    """Bring the backup timer onto the masters, as cluster.yaml says (backup.schedule). `up` does the same.

    Each master has it; for each backup one of them takes the turn, whichever live. It takes a snapshot, proves it by a
    trial restore, encrypts it for the public keys, copies it to backup.copies and removes what retention does not keep:
    all without this machine. Age and size are told to node-exporter.
    """
    from mlops_infra.app.context import open_site  # noqa: PLC0415

    options = options_of(ctx)
    wanted = open_site(options.config, options.lab).cluster.backup.schedule.enabled
    if not wanted and not off:
        raise UsageError("cluster.yaml schedules no backups", remedy=_EXAMPLE)
    if wanted and off:
        raise UsageError(
            "cluster.yaml still schedules backups", remedy="Set backup.schedule.enabled to false, then run this again."
        )
    return converge(options, part=Part(frozenset({"backup"})))
