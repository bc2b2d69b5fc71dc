"""`mlops-infra validate`."""

from __future__ import annotations

import typer

from mlops_infra.app.config import valid_shape
from mlops_infra.app.context import open_site
from mlops_infra.cli.options import options_of
from mlops_infra.ui.config import show_json, show_valid

__all__ = ["validate"]


def validate(ctx: typer.Context) -> None:
    """Check cluster.yaml and say all that is wrong with it.

    Reaches no host. Every mistake is told at once, with file, line and column; exit code 5. Warnings (past end of
    life, a secret in clear text) do not change the exit code.

    Examples:  mlops-infra validate  |  mlops-infra validate -c other.yaml --json
    """
    options = options_of(ctx)
    site = open_site(options.config, options.lab)
    if options.json:
        show_json(valid_shape(site))
    else:
        show_valid(site)
