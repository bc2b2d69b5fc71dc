"""`runs list|show`: earlier runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from mlops_infra.cli.options import Options, options_of

if TYPE_CHECKING:
    from mlops_infra.model.site import Site

app = typer.Typer(help="Look at earlier runs.")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Show the runs that are kept, newest first."""
    from mlops_infra.app.runs import list_runs  # noqa: PLC0415
    from mlops_infra.app.shapes import run_shape  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415
    from mlops_infra.ui.report import runs_text  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json)
    runs = list_runs(_site(options).runs)
    out.text(runs_text(runs, out.style))
    out.answer({"runs": [run_shape(run) for run in runs]})


@app.command()
def show(
    ctx: typer.Context, run: str = typer.Argument("last", help="Its id, the beginning of one, or `last`.")
) -> None:
    """Show what one run did, from its journal."""
    from mlops_infra.app.runs import read_run  # noqa: PLC0415
    from mlops_infra.app.shapes import run_shape  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json)
    found = read_run(_site(options).runs, run)
    out.text(f"{found.id}  {found.outcome}\n{found.directory}")
    for record in found.records:
        fields = {k: v for k, v in record.items() if k not in ("at", "what")}
        out.text(f"  {record.get('what', '')}  {json.dumps(fields)}")
    out.answer({"run": run_shape(found, records=True)})


def _site(options: Options) -> Site:
    from mlops_infra.model.site import Site  # noqa: PLC0415

    return Site(options.config, lab=options.lab)
