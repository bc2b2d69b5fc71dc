"""`mlops-infra lab …`: the platform's twin on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import typer

from mlops_infra.cli.options import Options, options_of
from mlops_infra.errors import ExitCode, InfraError, UsageError
from mlops_infra.lab.faults import Fault
from mlops_infra.ui import lab as ui

__all__ = ["app"]

app = typer.Typer(help="The platform's twin on this machine: real hosts in network namespaces. Needs root.")

_HOSTS = typer.Argument(None, metavar="[HOST]...", help="All hosts when none is named.", show_default=False)
_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@app.command()
def up(
    ctx: typer.Context,
    install: bool = typer.Option(False, "--install", help="Install what this machine lacks, with apt-get."),
    debian12: list[str] = typer.Option(
        [], "--debian12", metavar="HOST", help="Give this host Debian 12 (again for more). Default: the last worker."
    ),
    no_debian12: bool = typer.Option(False, "--no-debian12", help="Give all hosts Debian 13."),
    no_mirror: bool = typer.Option(False, "--no-mirror", help="Boot the hosts only; build and serve no mirror."),
) -> None:
    """Boot the twin of cluster.yaml, or what is missing of it, and serve its mirror.

    Afterwards `--lab` points any command at it.

    Examples:  mlops-infra lab up --install  |  mlops-infra lab up --no-mirror --debian12 worker-1
    """
    from mlops_infra.app.pinned import check_pinned  # noqa: PLC0415
    from mlops_infra.lab.lifecycle import up as boot  # noqa: PLC0415
    from mlops_infra.model.load import load_cluster  # noqa: PLC0415

    if debian12 and no_debian12:
        raise UsageError("--debian12 and --no-debian12 exclude each other")
    options = options_of(ctx)
    chosen: list[str] | None = [] if no_debian12 else (debian12 or None)
    cluster = load_cluster(options.config, also=check_pinned).cluster
    boot(cluster, options.config, ui.progress(), debian12=chosen, install=install, mirror=not no_mirror)
    _show_status(options)


@app.command()
def status(ctx: typer.Context) -> None:
    """Show each host: power, what systemd says, cable, disk, memory, uptime. Exit 2: a host is not well."""
    if not _show_status(options_of(ctx)):
        raise typer.Exit(ExitCode.CHANGES)


@app.command()
def fail(
    ctx: typer.Context,
    fault: Fault = typer.Argument(..., help="What happens to it.", show_default=False),
    hosts: list[str] = typer.Argument(..., metavar="HOST...", help="To which hosts.", show_default=False),
) -> None:
    """Bring a real fault upon hosts: power cut, pulled cable, full disk, frozen machine.

    Examples:  mlops-infra lab fail power master-2  |  mlops-infra lab fail cable worker-1
    """
    from mlops_infra.lab.faults import fail as strike  # noqa: PLC0415

    options = options_of(ctx)
    strike(fault, hosts, _named(options), ui.progress())


@app.command()
def heal(ctx: typer.Context, hosts: list[str] = _HOSTS) -> None:
    """Undo every fault: space, cable, freezer, and power; a host that was off boots with its disk as it was."""
    from mlops_infra.lab.faults import heal as mend  # noqa: PLC0415

    mend(hosts or [], _named(options_of(ctx)), ui.progress())


@app.command()
def reset(ctx: typer.Context, hosts: list[str] = _HOSTS) -> None:
    """Bare hosts again, in seconds: power cut, disk thrown away, booted from the same root file system."""
    from mlops_infra.lab.lifecycle import reset as make_bare  # noqa: PLC0415

    options = options_of(ctx)
    what = ", ".join(hosts) if hosts else "all hosts"
    _confirm(options, f"Throw away all that is on {what} of the lab?")
    make_bare(hosts or [], _named(options), ui.progress())


@app.command()
def down(ctx: typer.Context) -> None:
    """Take the lab away: no process, mount, namespace, cgroup or link of it stays. Works twice, and after a crash."""
    from mlops_infra.lab.lifecycle import down as remove  # noqa: PLC0415

    left = remove(_named(options_of(ctx)), ui.progress())
    if left:
        raise InfraError(
            "not everything of the lab could be removed",
            details="\n".join(left),
            cause="something still uses it, such as a shell inside",
            remedy="end it, then mlops-infra lab down",
        )


@app.command("exec", context_settings=_PASS_ON)
def execute(
    ctx: typer.Context,
    host: str = typer.Argument(..., metavar="HOST", show_default=False),
    command: list[str] = typer.Argument(..., metavar="-- CMD...", show_default=False),
) -> None:
    """Run a command on a host as root, over SSH; its exit code is this command's.

    Example:  mlops-infra lab exec master-1 -- journalctl -u kubelet -n 20
    """
    from mlops_infra.lab.clients import ssh_command  # noqa: PLC0415
    from mlops_infra.lab.status import current  # noqa: PLC0415

    lab = current(_named(options_of(ctx)))
    words = command[1:] if command[0] == "--" else command
    done = subprocess.run(ssh_command(lab.twin.host(host), lab.config, words, as_root=True), check=False)
    raise typer.Exit(done.returncode)


@app.command()
def ssh(ctx: typer.Context, host: str = typer.Argument(..., metavar="HOST", show_default=False)) -> None:
    """Open a shell on a host, as the SSH user of cluster.yaml."""
    from mlops_infra.lab.clients import ssh_command  # noqa: PLC0415
    from mlops_infra.lab.status import current  # noqa: PLC0415

    lab = current(_named(options_of(ctx)))
    _become(ssh_command(lab.twin.host(host), lab.config))


@app.command(context_settings=_PASS_ON)
def curl(
    ctx: typer.Context,
    arguments: list[str] = typer.Argument(..., metavar="[--] ARG...", help="As for curl.", show_default=False),
) -> None:
    """Run curl as a client on the lab's network; the control plane's name leads where it leads on the nodes.

    Example:  mlops-infra lab curl -- -k https://10.110.190.21:6443/readyz
    """
    from mlops_infra.lab.clients import curl_command  # noqa: PLC0415
    from mlops_infra.lab.status import current  # noqa: PLC0415
    from mlops_infra.model.load import load_cluster  # noqa: PLC0415

    lab = current(_named(options_of(ctx)))
    cluster = load_cluster(lab.config).cluster
    _become(curl_command(arguments, cluster.endpoint_name, cluster.endpoint_address))


def _named(options: Options) -> Path | None:
    """The file whose lab is meant; None when there is none here, and then the lab that is up is meant."""
    from mlops_infra.cli.options import DEFAULT_CONFIG  # noqa: PLC0415

    return options.config if options.config != DEFAULT_CONFIG or options.config.exists() else None


def _show_status(options: Options) -> bool:
    from mlops_infra.lab.status import statuses  # noqa: PLC0415

    found = statuses(_named(options))
    ui.show_status(found, as_json=options.json)
    return ui.is_well(found)


def _confirm(options: Options, question: str) -> None:
    if not options.yes:
        typer.confirm(question, abort=True, err=True)


def _become(command: list[str]) -> NoReturn:
    """Become that program, so that signals and the terminal are its own."""
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606
