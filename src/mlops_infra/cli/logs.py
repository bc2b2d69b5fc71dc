"""`logs`: what a part of the platform, or a pod, wrote."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import typer

from mlops_infra.cli.options import options_of
from mlops_infra.errors import ExitCode, UsageError

app = typer.Typer()


@app.command(
    epilog="Examples:  mlops-infra logs etcd  |  mlops-infra logs kubelet --limit worker-1 -f  |  "
    "mlops-infra logs shop/web --since 10m"
)
def logs(
    ctx: typer.Context,
    target: str = typer.Argument(
        ...,
        metavar="TARGET",
        help="kubelet, containerd, haproxy, keepalived, etcd, apiserver, controller-manager, scheduler, kube-proxy, "
        "coredns, flannel, metallb, ingress, approver, sshd; or POD, or NAMESPACE/POD.",
    ),
    follow: bool = typer.Option(False, "-f", "--follow", help="Go on until Ctrl-C."),
    since: str = typer.Option("", "--since", metavar="SPAN", help="Only what is younger (30s, 10m, 2h, 1d)."),
    lines: int = typer.Option(100, "-n", "--lines", min=1, help="The last lines of each log."),
) -> int:
    """Show the log of a part of the platform, or of a pod, of all its hosts in one stream. Needs no API server."""
    from mlops_infra.app import logs as use  # noqa: PLC0415
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.app.hosts import chosen, exit_code  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.ui.errors import show  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415
    from mlops_infra.ui.stream import line_text  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    if follow and options.json:
        raise UsageError(
            "--follow writes lines as they come: there is no --json of it", remedy="Leave one of them out."
        )
    source, span = use.source_of(target), use.parse_since(since) if since else None
    context = open_site(options.config, options.lab)
    hosts = use.hosts_of(context.cluster, source, chosen(context, options.limit))
    script = use.script_of(source, lines=lines, since=span, following=follow)
    style = out.style
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        if follow:
            found: list[use.Line] = []
            errors = use.follow(transport, hosts, script, lambda line: out.text(line_text(line, style)))
        else:
            found, errors = use.read(transport, hosts, script, span, datetime.now(UTC))
    for line in found:
        out.text(line_text(line, style))
    for error in errors:
        show(error)
    if not found and not follow and not errors:
        span_text = f" in the last {since}" if since else ""
        out.aside(
            f"nothing was written by {target}{span_text}"
            if use.is_part(target)
            else f"no pod whose name begins with {target} wrote a log{span_text} (`kubectl get pods -A` names them)"
        )
    out.answer(
        {
            "lines": [
                {"host": x.host, "at": x.at.isoformat() if x.at else None, "source": x.source, "text": x.text}
                for x in found
            ]
        }
    )
    return exit_code(len(hosts) - len(errors), len(errors), len(hosts)) if hosts else ExitCode.DONE
