"""The options that every command has, before and after its name, and from the environment.

A command module writes:

    from mlops_infra.cli.options import options_of

    app = typer.Typer(help="Speak to the hosts.")

    @app.command()
    def ping(ctx: typer.Context) -> None:
        options = options_of(ctx)

and declares none of them itself: `adopt` adds them to each command when it is loaded. What stands on the command line
wins over the environment; of two on the command line the later wins, `--limit` and `-v` add up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["DEFAULT_CONFIG", "Options", "adopt", "common_parameters", "options_of"]

DEFAULT_CONFIG = Path("cluster.yaml")
_META = "mlops_infra.options"
PANEL = "Common options"


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for that holds for any command."""

    config: Path = DEFAULT_CONFIG
    lab: bool = False
    json: bool = False
    yes: bool = False
    verbose: int = 0
    limit: tuple[str, ...] = ()


@dataclass(slots=True)
class _Given:
    """What was read so far, from the environment and from each level of the command line."""

    environment: dict[str, Any] = field(default_factory=dict)
    typed: dict[str, Any] = field(default_factory=dict)

    def take(self, name: str, value: Any, source: str) -> None:
        if source == "ENVIRONMENT":
            self.environment[name] = value
        elif source == "COMMANDLINE":
            if name in ("limit", "verbose") and name in self.typed:
                value = self.typed[name] + type(self.typed[name])(value)
            self.typed[name] = value


def options_of(ctx: typer.Context) -> Options:
    """The common options of the command that runs."""
    given: _Given = ctx.meta.get(_META, _Given())
    known = {**given.environment, **given.typed}
    if "limit" in known:
        known["limit"] = tuple(dict.fromkeys(known["limit"]))
    return Options(**known)


def _collect(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    source = ctx.get_parameter_source(param.name or "")
    if source is not None and not ctx.resilient_parsing:
        ctx.meta.setdefault(_META, _Given()).take(param.name or "", value, source.name)
    return value


def _option(default: Any, *names: str, **more: Any) -> Any:
    return typer.Option(default, *names, callback=_collect, expose_value=False, show_default=False, **more)


def _common(
    *,
    config: Path = _option(
        DEFAULT_CONFIG, "-c", "--config", help="The platform's file (cluster.yaml).", envvar="MLOPS_INFRA_CONFIG"
    ),
    lab: bool = _option(False, "--lab", help="Work on the platform's twin on this machine.", envvar="MLOPS_INFRA_LAB"),
    json: bool = _option(False, "--json", help="Answer in JSON on standard output."),
    yes: bool = _option(False, "-y", "--yes", help="Do not ask."),
    verbose: int = _option(0, "-v", "--verbose", count=True, help="Say more; twice: much more."),
    limit: list[str] = _option([], "--limit", metavar="HOST", help="Only this host (again for more)."),
) -> None:
    """Carries the declarations only."""


def common_parameters() -> list[Any]:
    """The common options as parameters of a command, fresh ones on each call."""
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_common)
    parameters: list[Any] = typer.main.get_command(carrier).params
    return parameters


def adopt(command: Any, before: Callable[[Options], None] | None = None) -> Any:
    """Gives a command, and all below it, the common options and the plain help; returns it.

    An option that the command declares itself stays its own. `before` is called with the options when a leaf command,
    or a group that does something without one, has parsed its line and is about to run.
    """
    command.rich_markup_mode = None
    command.params = [p for p in command.params if p.name not in ("install_completion", "show_completion")]
    taken = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    command.params += [p for p in common_parameters() if not taken.intersection(p.opts)]
    if isinstance(command, TyperGroup):
        for child in command.commands.values():
            adopt(child, before)
        if before is not None and command.invoke_without_command:
            _call_before(command, before)
    elif before is not None and isinstance(command, TyperCommand):
        _call_before(command, before)
    return command


def _call_before(command: TyperCommand | TyperGroup, before: Callable[[Options], None]) -> None:
    proceed = command.invoke

    def invoke(ctx: Any) -> Any:
        before(options_of(ctx))
        return proceed(ctx)

    command.invoke = invoke  # type: ignore[method-assign]
