"""`backup restore`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlops_infra.cli.options import Options, options_of
from mlops_infra.errors import ExitCode, InfraError, UsageError

if TYPE_CHECKING:
    from mlops_infra.app.backup_restore import RestorePlan
    from mlops_infra.app.context import SiteContext
    from mlops_infra.app.smoke import Smoke
    from mlops_infra.ui.output import Output

__all__ = ["caught_up", "restore"]

_CATCHING_UP = 90.0
"""Seconds. What watches the API asks ever more rarely for one that is away, at last every 30 to 60 s, and begins afresh
after two minutes without a failure alone (client-go's reflector.go). After the third restore in a row MetalLB's
controller had given a new Service no address when the smoke test gave up."""

_KEYS = typer.Option([], "--key", metavar="FILE", help="A private key of age (again for more); default: the site's.")


def restore(
    ctx: typer.Context,
    bundle: str = typer.Argument("last", help="A file, the name of one, or `last`."),
    keys: list[Path] = _KEYS,
    roll_back: bool = typer.Option(
        False, "--roll-back", help="Also where etcd lives with a majority and only a member is lost."
    ),
) -> int:
    """Restore the whole cluster from a bundle: onto the hosts that had it, or onto bare ones of the same names.

    Says what will be lost, and asks. A run that was cut off is taken up by the same command. Where no cluster.yaml is,
    it is taken out of the bundle first: bundle, private key and SSH are enough. Ends with up, doctor and smoke.
    A single lost member is no case for this: `masters replace`.

    Examples:  mlops-infra backup restore  |  mlops-infra backup restore x.tar.age --key /media/usb/mlops-key.txt
    """
    from mlops_infra.app.backup import Steps  # noqa: PLC0415
    from mlops_infra.app.backup_restore import plan_restore  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.cli.backup import bundle_named, identities_of  # noqa: PLC0415
    from mlops_infra.ui.backup import STEPS  # noqa: PLC0415
    from mlops_infra.ui.backup_restore import restore_plan_text  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    if options.limit:
        raise UsageError("--limit has no place here: a restore is of all masters, or it is none")
    if not options.config.exists():
        _recover(options, bundle, keys, out)
    from mlops_infra.app.context import open_site  # noqa: PLC0415

    context = open_site(options.config, options.lab)
    path, opened = bundle_named(context, bundle), identities_of(context, keys)
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        steps = Steps(lambda step: out.aside(f"{out.style.dim('·')} {STEPS.get(step, step)}"))
        plan = plan_restore(context, transport, path, opened, steps, roll_back=roll_back)
        out.text(restore_plan_text(plan, [h.name for h in context.cluster.hosts.masters], out.style))
        if not out.confirm("Go on?", yes=options.yes):
            out.aside("Nothing was changed.")
            return ExitCode.FAILED
        return _go_on(context, transport, plan, keys=opened, options=options, out=out, steps=steps)


def _recover(options: Options, bundle: str, keys: list[Path], out: Output) -> None:
    """cluster.yaml and what lay beside it, out of the bundle."""
    from mlops_infra.app.backup_key import identities  # noqa: PLC0415
    from mlops_infra.app.backup_recover import recover_site  # noqa: PLC0415
    from mlops_infra.model.site import Site  # noqa: PLC0415

    if not Path(bundle).is_file() or not keys:
        raise UsageError(
            f"there is no {options.config} here, and no bundle and key are named to take it from",
            remedy="mlops-infra backup restore BUNDLE --key FILE   in an empty directory, or go where cluster.yaml is.",
        )
    config = options.config.absolute()
    done = recover_site(Path(bundle), keys, identities(keys), Site(config, options.lab))
    out.aside(f"no {options.config} here: {len(done.files)} files of {done.cluster} taken out of the bundle")
    for path in done.files:
        out.aside(f"  {path}")


def _go_on(
    context: SiteContext,
    transport: Any,
    plan: RestorePlan,
    *,
    keys: list[Any],
    options: Options,
    out: Output,
    steps: Any,
) -> int:
    """After the yes: prepare, restore, and prove it."""
    from mlops_infra.app.backup_restore import apply_restore, emptied  # noqa: PLC0415
    from mlops_infra.ui.backup_restore import restore_shape, restore_text, upload_text  # noqa: PLC0415
    from mlops_infra.ui.progress import Progress  # noqa: PLC0415
    from mlops_infra.ui.report import results_text  # noqa: PLC0415

    begun = time.monotonic()
    if plan.needs_preparing:
        steps.begin("prepare")
        _prepare(options, out)
    run = apply_restore(
        context, transport, plan, keys, steps,
        progress=lambda phases: Progress(phases, out.err, verbose=options.verbose),
        tell=lambda done, size: out.aside(f"  {upload_text(done, size)}"),
    )  # fmt: skip
    if run.exit_code is not ExitCode.DONE:
        out.text("\n" + results_text(run.results, out.style))
        out.aside(f"full log: {run.directory}; the same command goes on from where this ended")
        out.answer(restore_shape(plan, run, steps.seconds, time.monotonic() - begun))
        return run.exit_code
    empty = emptied(context, plan)
    code, proof = _prove(context, options, out, steps)
    total = time.monotonic() - begun
    out.text("\n" + restore_text(plan, steps.seconds, total, empty, out.style))
    shape = {**restore_shape(plan, run, steps.seconds, total), "empty_volumes": list(empty)}
    out.answer({**shape, "exit_code": int(code), **proof})
    return code


def _prepare(options: Options, out: Output) -> None:
    """What bare hosts need before they can be given their cluster back. Raises InfraError when it could not be done."""
    from mlops_infra.app.backup_restore import BARE_PHASES  # noqa: PLC0415
    from mlops_infra.app.judgement import refuse  # noqa: PLC0415
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415
    from mlops_infra.app.up import apply  # noqa: PLC0415
    from mlops_infra.cli.flow import Relay, asked_of, asker  # noqa: PLC0415
    from mlops_infra.ui.progress import Progress  # noqa: PLC0415
    from mlops_infra.ui.report import results_text  # noqa: PLC0415

    relay = Relay()
    with open_platform(asked_of(options, BARE_PHASES), emit=relay, ask_sudo_password=asker(out)) as platform:
        made = platform.plan()
        if made.is_empty:
            return
        refuse(platform.findings)
        with Progress(platform.shown, out.err, verbose=options.verbose) as relay.to:
            done = apply(platform, None)
        if done.exit_code is not ExitCode.DONE:
            out.text("\n" + results_text(done.run.results, out.style))
            raise InfraError(
                "the bare hosts could not be prepared: nothing of the cluster was touched",
                details=f"full log: {done.run.directory}",
                cause="What failed is listed above.",
                remedy="Mend it; the same command goes on from there.",
            )


def _prove(context: SiteContext, options: Options, out: Output, steps: Any) -> tuple[int, dict[str, Any]]:
    """up, doctor and smoke: what cluster.yaml declares is there again, nothing is found, traffic gets through."""
    from mlops_infra.app.doctor import diagnosis_shape, examine  # noqa: PLC0415
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415
    from mlops_infra.app.up import apply  # noqa: PLC0415
    from mlops_infra.cli.flow import Relay, asked_of, asker  # noqa: PLC0415
    from mlops_infra.cli.smoke import run as smoke  # noqa: PLC0415
    from mlops_infra.ui.doctor import diagnosis_text  # noqa: PLC0415
    from mlops_infra.ui.errors import as_json, show  # noqa: PLC0415
    from mlops_infra.ui.progress import Progress  # noqa: PLC0415
    from mlops_infra.ui.report import results_text  # noqa: PLC0415
    from mlops_infra.ui.smoke import smoke_shape, smoke_text  # noqa: PLC0415

    steps.begin("up")
    relay = Relay()
    with open_platform(asked_of(options), emit=relay, ask_sudo_password=asker(out)) as platform:
        platform.plan()
        with Progress(platform.shown, out.err, verbose=options.verbose) as relay.to:
            done = apply(platform, None)
        if done.exit_code is not ExitCode.DONE:
            out.text("\n" + results_text(done.run.results, out.style))
            out.aside(f"the data is restored; what `up` does is not finished: {done.run.directory}")
    steps.begin("smoke")
    try:
        tried = caught_up(lambda: smoke(context, options, out), out)
        out.text(smoke_text(tried, out.style))
        smoked, worst = smoke_shape(tried), tried.exit_code
    except InfraError as error:
        show(error)
        smoked, worst = {"ok": False, **as_json(error)}, ExitCode.CHANGES
    steps.begin("doctor")
    with open_platform(asked_of(options), emit=Relay(), ask_sudo_password=asker(out)) as platform:
        found = examine(platform)
    out.text(diagnosis_text(found, out.style, all_lines=options.verbose > 0))
    steps.begin("")
    code = max((done.exit_code, worst, found.exit_code), key=_weight)
    return code, {"smoke": smoked, "doctor": diagnosis_shape(found)}


def caught_up(smoke: Callable[[], Smoke], out: Output, *, patience: float = _CATCHING_UP) -> Smoke:
    """The first smoke test that passes, or the last that was begun within `patience` seconds."""
    ends = time.monotonic() + patience
    while (tried := smoke()).exit_code is not ExitCode.DONE and time.monotonic() < ends:
        out.aside("· what watches the API may see it a minute late: once more")
    return tried


def _weight(code: ExitCode) -> int:
    """4 beats 3 beats 2; a failure beats findings."""
    return {ExitCode.DONE: 0, ExitCode.CHANGES: 1, ExitCode.FAILED: 2}.get(code, 2 + int(code))
