"""`hosts ping|list|trust|exec|apply`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from mlops_infra.cli import flow
from mlops_infra.cli.flow import Part
from mlops_infra.cli.options import Options, options_of
from mlops_infra.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from mlops_infra.app.context import SiteContext
    from mlops_infra.app.hosts import Shown
    from mlops_infra.transport import Target
    from mlops_infra.ui.output import Output

app = typer.Typer(help="Reach the hosts, and prepare them.")
_PREPARED = Part(frozenset({"hosts", "runtime"}))


@app.command()
def ping(ctx: typer.Context) -> int:
    """Log in everywhere and become root. Exit 0: all answer; 3: some; 4: none.

    Example:  mlops-infra hosts ping --limit master-1
    """
    from mlops_infra.app.hosts import chosen, exit_code, transport_of  # noqa: PLC0415
    from mlops_infra.app.hosts import ping as ping_hosts  # noqa: PLC0415
    from mlops_infra.ui.hosts import ping_shape, ping_text  # noqa: PLC0415

    options, out, context = _opened(ctx)
    hosts = chosen(context, options.limit)
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        found = ping_hosts(transport, hosts)
    out.text(ping_text(found, out.style))
    out.answer(ping_shape(found))
    bad = sum(p.problem is not None for p in found)
    return exit_code(len(found) - bad, bad, len(found))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Show the hosts of cluster.yaml and how they are reached. Asks nobody."""
    from mlops_infra.app.hosts import chosen  # noqa: PLC0415
    from mlops_infra.ui.hosts import list_shape, list_text  # noqa: PLC0415

    options, out, context = _opened(ctx)
    rows = [(target, context.cluster.role(name)) for name, target in chosen(context, options.limit).items()]
    out.text(list_text(rows))
    out.answer(list_shape(rows))


@app.command()
def trust(
    ctx: typer.Context,
    hosts: list[str] = typer.Argument(None, help="Names of hosts, or `bastion`; all when none is given."),
    fingerprint: list[str] = typer.Option([], "--fingerprint", metavar="SHA256:…", help="A key known from elsewhere."),
    replace: bool = typer.Option(False, "--replace", help="Take the new key of a host that shows another one."),
) -> int:
    """Show the hosts' keys, ask, and pin them. Nothing speaks to a host whose key is not pinned.

    Compare the fingerprints with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the machines.
    `--yes` needs each key's `--fingerprint`, or `host_key` in cluster.yaml.
    """
    from mlops_infra.app.hosts import KeyState, changed_problem, chosen, pin  # noqa: PLC0415
    from mlops_infra.ui.errors import show  # noqa: PLC0415
    from mlops_infra.ui.hosts import keys_shape, keys_text  # noqa: PLC0415

    options, out, context = _opened(ctx)
    wanted = chosen(context, [*(hosts or ()), *options.limit], bastion=True)
    seen: list[Shown] = []
    # A bastion first: what is behind it can be asked only through it.
    for group in (
        [t for t in wanted.values() if t.name == "bastion"],
        [t for t in wanted.values() if t.name != "bastion"],
    ):
        found = _scan(context, group, fingerprint)
        if found:
            out.text(keys_text(found, out.style))
        changed = [s for s in found if s.state is KeyState.CHANGED and (not replace or s.target.host_key)]
        for one in changed:
            show(changed_problem(one))
        open_ = [s for s in found if s.state in (KeyState.NEW, KeyState.CHANGED) and s not in changed and not s.sure]
        if open_:
            _agree(out, open_, options, fingerprint)
        pin(context, [s for s in found if s not in changed], replace_changed=replace)
        seen += found
    out.answer(keys_shape(seen))
    silent = sum(s.state is KeyState.UNREACHABLE for s in seen)
    refused = sum(s.state is KeyState.CHANGED and (not replace or bool(s.target.host_key)) for s in seen)
    if silent + refused < len(seen):
        out.text(f"pinned in {context.site.known_hosts}")
    if refused:
        return ExitCode.FAILED if refused + silent == len(seen) else ExitCode.PARTLY
    return ExitCode.DONE if not silent else ExitCode.UNREACHABLE if silent == len(seen) else ExitCode.PARTLY


@app.command("exec", context_settings={"allow_interspersed_args": False})
def exec_(
    ctx: typer.Context,
    command: list[str] = typer.Argument(..., metavar="-- CMD", help="A command; one word is taken as sh text."),
    deadline: float = typer.Option(600.0, "--deadline", help="Seconds after which it is ended."),
) -> int:
    """Run a command as root on the hosts, each line with the name of its host in front.

    Examples:  mlops-infra hosts exec -- uptime   |   mlops-infra hosts exec --limit lb-1 -- 'df -h | tail -3'
    """
    from mlops_infra.app.hosts import chosen, exit_code, run_everywhere, transport_of  # noqa: PLC0415
    from mlops_infra.ui.hosts import ran_shape, ran_text  # noqa: PLC0415

    options, out, context = _opened(ctx)
    hosts = chosen(context, options.limit)
    style = out.style
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        found = run_everywhere(
            transport,
            hosts,
            command,
            deadline=deadline,
            on_line=lambda host, line: out.text(f"{style.dim(host + ' |')} {line}"),
        )
    if rest := ran_text(found, out.style):
        out.aside(rest)
    out.answer(ran_shape(found))
    return exit_code(sum(r.ok for r in found), sum(r.problem is not None for r in found), len(found))


@app.command()
def apply(ctx: typer.Context) -> int:
    """Prepare the hosts and no more: `up`, limited to packages, files and settings, and the container runtime.

    Example:  mlops-infra hosts apply --limit worker-4
    """
    return flow.converge(options_of(ctx), part=_PREPARED)


def _opened(ctx: typer.Context) -> tuple[Options, Output, SiteContext]:
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    return options, Output(as_json=options.json, verbose=options.verbose), open_site(options.config, options.lab)


def _scan(context: SiteContext, group: list[Target], fingerprints: Iterable[str]) -> list[Shown]:
    from mlops_infra.app.hosts import show_keys, transport_of  # noqa: PLC0415

    # A new transport each time: it reads known_hosts once, and the bastion's key may just have been added.
    with closing(transport_of(context)) as transport:
        return show_keys(transport, context, group, fingerprints)


def _agree(out: Output, keys: list[Shown], options: Options, fingerprints: list[str]) -> None:
    """Raises UsageError where nobody can say yes, typer.Abort where somebody says no."""
    if options.yes:
        names = ", ".join(s.target.name for s in keys)
        raise UsageError(
            f"--yes alone does not make a key right: {names}",
            cause="None of the fingerprints given is that of these keys." if fingerprints else "",
            remedy="Add --fingerprint SHA256:… for each, or `host_key` to the host's ssh section in cluster.yaml.",
        )
    if not out.confirm(f"Trust {'this key' if len(keys) == 1 else f'these {len(keys)} keys'}?", yes=False):
        raise typer.Abort
