"""Writes docs/reference/commands.md from the commands themselves: `make docs`; a test finds a stale page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from mlops_infra.cli.main import COMMANDS, PROGRAM, command_tree, load
from mlops_infra.cli.options import common_parameters

__all__ = ["reference"]

_HEAD = f"""# Commands

<!-- Written by `make docs` from the commands themselves; edit those. -->

`{PROGRAM} COMMAND --help` says the same. Exit codes and the shapes of `--json`: [json.md](json.md).

## Options that every command takes

Before or after the command's name; the environment speaks where the command line does not.
"""


def reference() -> str:
    """The whole page, as Markdown."""
    context = typer.Context(command_tree(), info_name=PROGRAM)
    lines = [_HEAD, *(_option(p, context) for p in common_parameters()), ""]
    for entry in COMMANDS.values():
        lines += _command(load(entry), f"{PROGRAM} {entry.name}", context, entry.help)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: Any, path: str, parent: Any, fallback: str = "") -> list[str]:
    context = typer.Context(command, info_name=path.rsplit(" ", 1)[-1], parent=parent)
    lines = [f"## `{path}`", "", (command.help or fallback).strip().replace("\b\n", ""), ""]
    children = getattr(command, "commands", {})
    if not children:
        lines += [f"    {' '.join([path, *command.collect_usage_pieces(context)])}", ""]
    common = {name for p in common_parameters() for name in p.opts}
    own = [p for p in command.params if not common.issuperset(p.opts)]
    lines += [_option(p, context) for p in own if not getattr(p, "hidden", False)]
    lines += [""] if own else []
    for name, child in children.items():
        if not child.hidden:
            lines += _command(child, f"{path} {name}", context)
    return lines


def _option(parameter: Any, context: Any) -> str:
    record = parameter.get_help_record(context)
    name, text = record if record else (parameter.name, "")
    return f"- `{name}`: {text}" if text else f"- `{name}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
