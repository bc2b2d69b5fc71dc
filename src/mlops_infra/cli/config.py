"""`mlops-infra config`: the file as it takes effect, and its schema."""

from __future__ import annotations

import typer

from mlops_infra.cli.options import options_of

__all__ = ["app"]

app = typer.Typer(help="Show the file with its defaults, and its schema.", no_args_is_help=True)


@app.command()
def show(ctx: typer.Context) -> None:
    """Print cluster.yaml with every default filled in and secrets masked; with --lab, as the lab's overlay makes it.

    Examples:  mlops-infra config show  |  mlops-infra --lab config show  |  mlops-infra config show --json
    """
    from mlops_infra.app.config import effective, effective_yaml  # noqa: PLC0415
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.ui.config import show_json, show_text, show_warnings  # noqa: PLC0415

    options = options_of(ctx)
    if options.json:
        show_json(effective(open_site(options.config, options.lab).cluster))
        return
    text, site = effective_yaml(options.config, options.lab)
    show_warnings(site.warnings)
    show_text(text)


@app.command()
def schema() -> None:
    """Print the JSON Schema of cluster.yaml: editors complete and check keys with it.

    Example:  mlops-infra config schema > cluster.schema.json
    """
    from mlops_infra.app.config import schema_text  # noqa: PLC0415
    from mlops_infra.ui.config import show_text  # noqa: PLC0415

    show_text(schema_text())
