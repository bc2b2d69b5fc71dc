"""`metallb apply|status|set-pool`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mlops_infra.cli import flow
from mlops_infra.cli.flow import Part
from mlops_infra.cli.options import Options, options_of
from mlops_infra.cli.part import group
from mlops_infra.errors import ExitCode, InfraError

if TYPE_CHECKING:
    from mlops_infra.app.metallb import PoolChange
    from mlops_infra.app.up import Converged
    from mlops_infra.ui.output import Output

__all__ = ["app"]

PART = Part(frozenset({"metallb"}), ("nodes",), ("worker",))
# The cluster's own copy of cluster.yaml changes with the file.
_CHANGED_BY_A_POOL = Part(frozenset({"metallb", "record"}))

app = group("Addresses for Services of type LoadBalancer", PART, has_status=False)


@app.command(epilog="Examples:  mlops-infra metallb status  |  mlops-infra metallb status --json")
def status(ctx: typer.Context) -> int:
    """Show pools, used and free; each Service's address and the node that announces it; webhook and speakers.

    Changes nothing. Exit codes: 0 shown, 4 no API server answers.
    """
    from mlops_infra.app.metallb import look  # noqa: PLC0415
    from mlops_infra.ui.metallb import state_shape, state_text  # noqa: PLC0415

    flow.show(options_of(ctx), look, state_text, state_shape)
    return ExitCode.DONE


@app.command("set-pool", epilog="Examples:  set-pool 10.0.0.100-110  |  set-pool .100-.110 .120-.125")
def set_pool(
    ctx: typer.Context,
    ranges: list[str] = typer.Argument(..., metavar="RANGE...", help="10.0.0.100-110, .100-.110 or 10.0.0.96/28."),
    pool: str = typer.Option("default-pool", "--pool", metavar="NAME", help="Which one; a new name makes a new pool."),
    allow_readdress: bool = typer.Option(False, "--allow-readdress", help="Services may lose the address they have."),
) -> int:
    """Set the addresses of a pool: in cluster.yaml, its comments kept, and in the cluster.

    Shows what changes for which Service and asks; waits until every Service of type LoadBalancer answers at its
    address. Refuses, and leaves the file as it was, when an address in use would be lost, when the range overlaps
    anything or leaves the hosts' network, or when somebody else answers ARP in it.
    """
    from mlops_infra.app.metallb import Wanted, prepare, refuse  # noqa: PLC0415
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415
    from mlops_infra.ui.metallb import change_text  # noqa: PLC0415

    options = options_of(ctx)
    out = flow.output_of(options)
    wanted = Wanted(tuple(ranges), pool, allow_readdress)
    with open_platform(flow.asked_of(options), emit=flow.Relay(), ask_sudo_password=flow.asker(out)) as platform:
        change = prepare(platform, wanted)
    out.text(change_text(change, out.style))
    refuse(change)
    if not out.confirm("Go on?", yes=options.yes):
        out.aside("Nothing was changed.")
        return ExitCode.FAILED
    return _apply(options, out, change)


def _apply(options: Options, out: Output, change: PoolChange) -> int:
    """Writes the file and applies it; the file is put back where the run was refused before it wrote anything."""
    from mlops_infra.app.metallb import wait_until_answered  # noqa: PLC0415
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415
    from mlops_infra.model.edit import replace_file  # noqa: PLC0415
    from mlops_infra.ui.metallb import change_shape, state_shape, state_text  # noqa: PLC0415

    before = options.config.read_bytes()
    replace_file(options.config, change.text.encode())
    try:
        done = _converge(options, out)
    except (InfraError, KeyboardInterrupt):
        replace_file(options.config, before)
        raise
    answer = {"change": change_shape(change), "exit_code": int(done.exit_code), "run": done.run.run_id}
    if done.exit_code is not ExitCode.DONE:
        out.aside(f"{options.config} names the new pool; `mlops-infra metallb apply` goes on from where this ended")
        out.answer(answer)
        return done.exit_code
    with open_platform(flow.asked_of(options), emit=flow.Relay(), ask_sudo_password=flow.asker(out)) as platform:
        seen = wait_until_answered(platform, out.aside)
    out.text("\n" + state_text(seen, out.style))
    out.answer({**answer, "metallb": state_shape(seen)})
    return ExitCode.DONE


def _converge(options: Options, out: Output) -> Converged:
    """`up`, limited to what a pool changes."""
    from mlops_infra.app.judgement import refuse  # noqa: PLC0415
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415
    from mlops_infra.app.up import apply  # noqa: PLC0415
    from mlops_infra.ui.plan import plan_text  # noqa: PLC0415
    from mlops_infra.ui.progress import Progress  # noqa: PLC0415
    from mlops_infra.ui.report import results_text  # noqa: PLC0415

    relay = flow.Relay()
    asked = flow.asked_of(options, _CHANGED_BY_A_POOL.phases)
    with open_platform(asked, emit=relay, ask_sudo_password=flow.asker(out)) as platform:
        made = platform.plan()
        if made.is_empty:
            return apply(platform, made)
        out.text("\n" + plan_text(made, out.style, all_lines=options.verbose > 0))
        refuse(platform.findings)
        with Progress(platform.shown, out.err, verbose=options.verbose) as relay.to:
            done = apply(platform, made)
        out.text("\n" + results_text(done.run.results, out.style))
        return done
