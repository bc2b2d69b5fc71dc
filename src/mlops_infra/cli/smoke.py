"""`smoke`: does traffic get through?"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from mlops_infra.cli.options import Options, options_of

if TYPE_CHECKING:
    from mlops_infra.app.context import SiteContext
    from mlops_infra.app.smoke import Smoke
    from mlops_infra.ui.output import Output

app = typer.Typer()


@app.command(epilog="Examples:  mlops-infra smoke  |  mlops-infra smoke --full  |  mlops-infra smoke --limit worker-1")
def smoke(
    ctx: typer.Context,
    full: bool = typer.Option(False, "--full", help="Also an ML service, a volume, metrics, monitoring; every worker."),
) -> int:
    """Try the platform from inside and outside: DNS, pods across nodes, Services, LoadBalancer, Ingress.

    Makes a namespace of its own with a small pod on every worker, and takes it away whatever happens. Exit 2: something
    does not work; each failure comes with its likely cause and the next command.
    """
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415
    from mlops_infra.ui.smoke import smoke_shape, smoke_text  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    done = run(open_site(options.config, options.lab), options, out, full=full)
    out.text(smoke_text(done, out.style))
    out.answer(smoke_shape(done))
    return done.exit_code


def run(context: SiteContext, options: Options, out: Output, *, full: bool = False) -> Smoke:
    """The test with its progress on standard error; shown by the caller. Also the end of `up`."""
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.app.smoke import run_smoke  # noqa: PLC0415

    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        return run_smoke(context, transport, lambda text: out.aside(f"· {text}"), limit=options.limit, full=full)
