"""`monitoring apply|status|password` and `monitoring alerts test`."""

from __future__ import annotations

from contextlib import closing

import typer

from mlops_infra.cli import flow
from mlops_infra.cli.flow import Part
from mlops_infra.cli.options import options_of
from mlops_infra.cli.part import group
from mlops_infra.errors import ExitCode

__all__ = ["app"]

# Exporters on load balancers and masters are part of those phases.
PART = Part(frozenset({"monitoring", "storage", "lb", "masters", "ingress"}), ("nodes",), ("worker",))

app = group("Prometheus, Alertmanager, Grafana", PART, has_status=False)
alerts = typer.Typer(help="Alerts.")
app.add_typer(alerts, name="alerts")


@app.command(epilog="Examples:  mlops-infra monitoring status  |  mlops-infra monitoring status --json")
def status(ctx: typer.Context) -> int:
    """Show its parts, the targets, the alerts that fire, and where to look. Changes nothing.

    Exit codes: 0 all is well, 2 a pod or a target is missing, 4 no API server answers.
    """
    from mlops_infra.app.monitoring import look  # noqa: PLC0415
    from mlops_infra.ui.monitoring import state_shape, state_text  # noqa: PLC0415

    seen = flow.show(options_of(ctx), look, state_text, state_shape)
    return ExitCode.DONE if seen.is_well or not seen.installed else ExitCode.CHANGES


@app.command(epilog="Example:  mlops-infra monitoring password")
def password(ctx: typer.Context) -> int:
    """Show Grafana's user and password."""
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.app.monitoring import grafana_password  # noqa: PLC0415

    options = options_of(ctx)
    out = flow.output_of(options)
    context = open_site(options.config, options.lab)
    user, secret = context.cluster.monitoring.grafana.user, grafana_password(context)
    out.text(f"user      {user}\npassword  {secret.reveal()}")
    out.answer({"user": user, "password": secret.reveal()})
    return ExitCode.DONE


@alerts.command(epilog="Examples:  mlops-infra monitoring alerts test  |  mlops-infra monitoring alerts test --json")
def test(ctx: typer.Context) -> int:
    """Send an alert on the way that real ones take, and wait until every receiver was told.

    A ConfigMap is made, a rule of Prometheus fires, Alertmanager sends; the ConfigMap goes again. It takes a minute or
    two. Exit 2: a receiver was not told.
    """
    from mlops_infra.app.alert_test import run_alert_test  # noqa: PLC0415
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.ui.monitoring import alert_test_shape, alert_test_text  # noqa: PLC0415

    options = options_of(ctx)
    out = flow.output_of(options)
    context = open_site(options.config, options.lab)
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        done = run_alert_test(context, transport, lambda text: out.aside(f"· {text}"))
    out.text(alert_test_text(done, out.style))
    out.answer(alert_test_shape(done))
    return done.exit_code


@alerts.callback()
def _alerts() -> None:
    """A group stays one, even with a single command."""
