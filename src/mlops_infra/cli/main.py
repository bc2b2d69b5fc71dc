"""The command line: the table of commands, loaded when called, and what an exit looks like."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperGroup

from mlops_infra import __version__
from mlops_infra.cli.options import Options, adopt, common_parameters
from mlops_infra.errors import ExitCode, InfraError, UsageError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["COMMANDS", "Entry", "app", "command_tree", "load", "main", "run"]

PROGRAM = "mlops-infra"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table. `network`: the command speaks to hosts, so `--lab` takes it into the lab's network."""

    name: str
    help: str
    section: str
    group: bool = False
    network: bool = False

    @property
    def module(self) -> str:
        return f"mlops_infra.cli.{self.name.replace('-', '_')}"


_PLATFORM, _PARTS, _HOSTS, _LAB = "The platform", "Its parts", "Its file, its hosts, its runs", "The lab"

COMMANDS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("init", "Write a commented cluster.yaml.", _PLATFORM),
        Entry("validate", "Check cluster.yaml and say all that is wrong with it.", _PLATFORM),
        Entry("plan", "Show what `up` would change, and why. Exit 2: there is something.", _PLATFORM, network=True),
        Entry("up", "Make the platform what cluster.yaml says.", _PLATFORM, network=True),
        Entry(
            "status", "Show the platform on one screen: nodes, addresses, add-ons, findings.", _PLATFORM, network=True
        ),
        Entry("smoke", "Try DNS, pods, Services, Ingress. Exit 2: a failure.", _PLATFORM, network=True),
        Entry("backup", "Backups of etcd and of all that makes the cluster.", _PLATFORM, group=True, network=True),
        Entry(
            "doctor",
            "Examine the platform: what is wrong, why, and what mends it.",
            _PLATFORM,
            group=True,
            network=True,
        ),
        Entry("explain", "Say what a check of `doctor` asks.", _PLATFORM),
        Entry("logs", "Show the log of a part of the platform, or of a pod.", _PLATFORM, network=True),
        Entry("events", "Show the cluster's events, newest first, folded by cause.", _PLATFORM, network=True),
        Entry("kubeconfig", "Fetch the administrator's kubeconfig and print where it is.", _PLATFORM, network=True),
        Entry("access", "Access for people: give it, list it, take it back.", _PLATFORM, group=True, network=True),
        Entry("lb", "The load balancers: HAProxy in front of API and ingress.", _PARTS, group=True, network=True),
        Entry("masters", "The control plane.", _PARTS, group=True, network=True),
        Entry("workers", "The workers.", _PARTS, group=True, network=True),
        Entry("network", "The pod network.", _PARTS, group=True, network=True),
        Entry("metallb", "Addresses for Services of type LoadBalancer.", _PARTS, group=True, network=True),
        Entry("ingress", "What serves Ingress objects.", _PARTS, group=True, network=True),
        Entry("storage", "Volumes that pods can claim.", _PARTS, group=True, network=True),
        Entry("metrics", "The API of metrics, for `kubectl top`.", _PARTS, group=True, network=True),
        Entry("monitoring", "Prometheus, Alertmanager, Grafana.", _PARTS, group=True, network=True),
        Entry("security", "The firewall, and the roles of people.", _PARTS, group=True, network=True),
        Entry("config", "Show the file with its defaults, and its schema.", _HOSTS, group=True),
        Entry("hosts", "Reach the hosts: ping, list, trust, exec.", _HOSTS, group=True, network=True),
        Entry("runs", "Look at earlier runs.", _HOSTS, group=True),
        Entry("lab", "The platform's twin on this machine.", _LAB, group=True),
        Entry(
            "mirror", "A mirror of packages, images and files, for the lab and for sites without internet.", _LAB, True
        ),
    )
}


class LazyGroup(TyperGroup):
    """A group whose commands are names and one line of help until one of them is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            command = load(COMMANDS[name], forgiving=ctx.resilient_parsing) or command
        return name, command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl([(e.name, e.help) for e in COMMANDS.values() if e.section == section])


def load(entry: Entry, *, forgiving: bool = False) -> Any:
    """The real command behind a line of the table, with the common options.

    Raises InfraError when its module is not there (None when `forgiving`: completion never complains).
    """
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name != entry.module:
            raise
        if forgiving:
            return None
        raise InfraError(
            f"The command `{entry.name}` is not part of this installation",
            cause=f"The module {entry.module} is missing.",
            remedy="Install mlops-infra again, or use a newer version.",
        ) from error
    command = _command_in(module, entry)
    command.name = entry.name
    return adopt(command, _enter_lab if entry.network else None)


def _command_in(module: ModuleType, entry: Entry) -> Any:
    commands: typer.Typer | None = getattr(module, "app", None)
    if commands is None:
        commands = typer.Typer(add_completion=False)
        commands.command()(getattr(module, entry.name.replace("-", "_")))
    if entry.group:
        return typer.main.get_group(commands)
    return typer.main.get_command(commands)


def _enter_lab(options: Options) -> None:
    """`--lab`: joins the lab's network namespace, once, before the command starts any thread."""
    if options.lab:
        from mlops_infra.lab.enter import enter_lab_network  # noqa: PLC0415

        enter_lab_network()


app = typer.Typer(
    name=PROGRAM,
    cls=LazyGroup,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    no_args_is_help=True,
    epilog=f"Examples:  {PROGRAM} init  |  {PROGRAM} plan  |  {PROGRAM} up  |  {PROGRAM} --lab up --yes",
)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=lambda value: _version(wanted=value), help="Show the version."
    ),
) -> None:
    """Turns bare machines into a highly available Kubernetes platform over SSH, and keeps it healthy.

    One file, cluster.yaml, describes the platform; `plan` shows what is missing, `up` makes it so.
    """


def _stub() -> None:
    """Replaced by the real command when it is called."""


for _entry in COMMANDS.values():
    app.command(_entry.name, help=_entry.help)(_stub)


def command_tree() -> Any:
    """The root command with the common options; commands below it load when called."""
    root = typer.main.get_command(app)
    root.params += common_parameters()
    return root


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns the exit code; every error has been shown. For `main` and for tests."""
    as_json = "--json" in arguments
    try:
        answer = command_tree().main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except InfraError as error:
        return _show(error, as_json=as_json)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return ExitCode.INTERRUPTED
    except (typer.Abort, EOFError):
        sys.stderr.write("not done: there was no yes\n")
        return ExitCode.FAILED
    except typer.TyperException as error:
        return _show_usage(error, as_json=as_json)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; nothing must be written at exit either.
        sys.stdout = open("/dev/null", "w")  # noqa: PTH123, SIM115
        return ExitCode.FAILED
    except Exception as error:
        from mlops_infra.ui.errors import unexpected  # noqa: PLC0415

        return _show(unexpected(error), as_json=as_json)
    return answer if isinstance(answer, int) else ExitCode.DONE


def _show(error: InfraError, *, as_json: bool) -> int:
    from mlops_infra.ui.errors import show  # noqa: PLC0415

    show(error, as_json=as_json)
    return error.exit_code


def _show_usage(error: typer.TyperException, *, as_json: bool) -> int:
    """Click's own exit code 2 would read as "changes pending"."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error.format_message()}\n")
        return ExitCode.USAGE
    remedy = f"`{context.command_path} --help` shows what it takes." if context is not None else ""
    return _show(UsageError(error.format_message(), remedy=remedy), as_json=as_json)


def main() -> NoReturn:
    """The program's entry point."""
    # A short life with a hundred thousand objects that stay: looking for garbage among them is a tenth of its time.
    gc.set_threshold(100_000, 50, 50)
    code = run(sys.argv[1:])
    if code == ExitCode.INTERRUPTED:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """Ends at once: threads that wait for hosts would keep the process for their whole time, and another Ctrl-C, or
    the one that a shell sends to the whole group, would end that wait with a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
