"""`kubeconfig`: the administrator's access."""

from __future__ import annotations

import typer

from mlops_infra.cli.options import options_of

app = typer.Typer()


@app.command(epilog="Example:  export KUBECONFIG=$(mlops-infra kubeconfig)")
def kubeconfig(ctx: typer.Context) -> None:
    """Fetch the administrator's kubeconfig and print where it is.

    It lies beside cluster.yaml, readable by you alone, and names the load balancer's address.
    """
    from mlops_infra.app.platform import Asked, open_platform  # noqa: PLC0415
    from mlops_infra.app.up import fetch_kubeconfig  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json)
    asked = Asked(options.config, options.lab, options.limit)
    with open_platform(asked, emit=lambda _: None, ask_sudo_password=lambda: out.ask_secret("sudo password")) as found:
        fetched = fetch_kubeconfig(found)
        if fetched.source:
            out.aside(f"fetched from {fetched.source}")
        out.text(str(fetched.path))
        out.answer({"kubeconfig": str(fetched.path), "server": fetched.server, "fetched_from": fetched.source})
