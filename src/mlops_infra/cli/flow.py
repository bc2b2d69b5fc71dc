"""What `plan`, `up`, `status` and the groups for one part share: look, show, ask, apply, report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlops_infra.cli.options import Options
from mlops_infra.errors import ExitCode, InfraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_infra.app.platform import Asked, Platform
    from mlops_infra.app.up import Converged
    from mlops_infra.core import Event, Plan, Secret
    from mlops_infra.ui.console import Style
    from mlops_infra.ui.output import Output

__all__ = ["Part", "Relay", "asked_of", "asker", "converge", "output_of", "plan", "show", "status"]

Seen = TypeVar("Seen")


class Relay:
    """Events go nowhere while a platform is looked at: the plan names who did not answer. Progress shows a run."""

    def __init__(self) -> None:
        self.to: object = None

    def __call__(self, event: Event) -> None:
        if callable(self.to):
            self.to(event)


def plan(options: Options, *, out_file: Path | None = None, adopt: bool = False) -> int:
    """Shows what `up` would do. 0: nothing; 2: something; 3, 4: some or all hosts cannot be judged."""
    from mlops_infra.app.platform import exit_code_of_plan, open_platform  # noqa: PLC0415
    from mlops_infra.engine.plan_json import plan_to_dict, plan_to_json  # noqa: PLC0415
    from mlops_infra.ui.plan import plan_text  # noqa: PLC0415

    out = output_of(options)
    if out_file is not None and not out_file.parent.is_dir():
        raise InfraError(f"the plan cannot be saved: there is no directory {out_file.parent}")
    with open_platform(asked_of(options, adopt=adopt), emit=Relay(), ask_sudo_password=asker(out)) as platform:
        made = platform.plan()
        out.text(plan_text(made, out.style, all_lines=options.verbose > 0))
        out.answer(plan_to_dict(made))
        if out_file is not None:
            _write_private(out_file, plan_to_json(made))
            out.aside(f"saved: `mlops-infra up {out_file}` applies this plan and no other")
        return exit_code_of_plan(made, platform.hosts_meant)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the platform: the names of its phases, and what of the status is about it."""

    phases: frozenset[str]
    shows: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


def converge(
    options: Options,
    *,
    part: Part | None = None,
    saved: Path | None = None,
    adopt: bool = False,
    smoke: bool = False,
) -> int:
    """`up`, of everything or of one part and what it needs. `smoke`: tried out at the end, if anything was changed."""
    from mlops_infra.app.judgement import refuse  # noqa: PLC0415
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415
    from mlops_infra.app.up import apply, check_saved  # noqa: PLC0415
    from mlops_infra.engine.plan_json import load_saved_plan  # noqa: PLC0415
    from mlops_infra.ui.plan import overview_text, plan_text  # noqa: PLC0415
    from mlops_infra.ui.progress import Progress  # noqa: PLC0415

    out, relay = output_of(options), Relay()
    wanted = load_saved_plan(saved) if saved else None
    with open_platform(
        asked_of(options, part.phases if part else None, adopt=adopt), emit=relay, ask_sudo_password=asker(out)
    ) as platform:
        made = platform.plan()
        if saved and wanted:
            check_saved(made, wanted, saved)
        if not made.is_empty:
            is_agreed = (options.yes or saved is not None) and not options.verbose
            shown = overview_text(made, out.style) if is_agreed else None
            out.text(shown or plan_text(made, out.style, all_lines=options.verbose > 0))
            refuse(platform.findings)
            if not out.confirm("Go on?", yes=options.yes or saved is not None):
                out.aside("Nothing was changed.")
                return ExitCode.FAILED
            with Progress(platform.shown, out.err, verbose=options.verbose) as relay.to:
                done = apply(platform, None if options.yes and saved is None else made)
        else:
            done = apply(platform, made)
        code = _exit_code(made, done, platform.hosts_meant)
        _report(out, made, done, part)
        tried, code = _try_out(platform, options, out, done) if smoke and done.run.changed else (None, code)
        out.answer({**_converged_shape(made, done, int(code)), **({"smoke": tried} if tried else {})})
        return code


def status(options: Options, *, part: Part | None = None) -> int:
    """Shows what is there; changes nothing."""
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415
    from mlops_infra.app.shapes import status_shape  # noqa: PLC0415
    from mlops_infra.ui.report import PARTS, status_text  # noqa: PLC0415

    out = output_of(options)
    with open_platform(asked_of(options), emit=Relay(), ask_sudo_password=asker(out)) as platform:
        platform.look()
        seen = platform.status()
        shows, roles = (part.shows, part.roles) if part else (PARTS, ())
        out.text(status_text(seen, out.style, shows, roles))
        out.answer(status_shape(seen))
        silent = {p.host for p in seen.problems}
        if not silent:
            return ExitCode.DONE
        return ExitCode.UNREACHABLE if len(silent) >= platform.hosts_meant else ExitCode.PARTLY


def show(
    options: Options,
    look: Callable[[Platform], Seen],
    text: Callable[[Seen, Style], str],
    shape: Callable[[Seen], dict[str, Any]],
) -> Seen:
    """One look at a part, shown for people or for programs; changes nothing. What was seen, for the exit code."""
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415

    out = output_of(options)
    with open_platform(asked_of(options), emit=Relay(), ask_sudo_password=asker(out)) as platform:
        seen = look(platform)
    out.text(text(seen, out.style))
    out.answer(shape(seen))
    return seen


def _exit_code(made: Plan, done: Converged, hosts: int) -> ExitCode:
    """Where nothing was to be written and all went well, what `plan` exits with: preflight refuses no run then."""
    from mlops_infra.app.platform import exit_code_of_plan  # noqa: PLC0415

    return exit_code_of_plan(made, hosts) if made.is_empty and done.exit_code is ExitCode.DONE else done.exit_code


def _report(out: Output, made: Plan, done: Converged, part: Part | None) -> None:
    from mlops_infra.core import Outcome  # noqa: PLC0415
    from mlops_infra.ui.report import PARTS, results_text, status_text  # noqa: PLC0415

    results = done.run.results
    if made.is_empty:
        _remarks(out, made, done, part)
    if not made.is_empty or done.exit_code is not ExitCode.DONE:
        out.text("\n" + results_text(results, out.style))
    shows, roles = (part.shows, part.roles) if part else (PARTS, ())
    told = {r.id.host for r in results if r.outcome is Outcome.UNREACHABLE}
    rest = tuple(p for p in done.status.problems if p.host not in told)
    out.text("\n" + status_text(replace(done.status, problems=rest), out.style, shows, roles))
    if done.run.stopped:
        out.aside(f"stopped: {done.run.stopped}")
    if done.exit_code is not ExitCode.DONE:
        out.aside(f"full log: {done.run.directory}; `mlops-infra up` goes on from where this ended")


def _remarks(out: Output, made: Plan, done: Converged, part: Part | None) -> None:
    """What an empty plan, which nobody was shown, says all the same: each thing once beside results and status."""
    from mlops_infra.ui.plan import problems_text, summary  # noqa: PLC0415

    told = {(r.id.host, r.brief) for r in done.run.results}
    problems = tuple(p for p in made.problems if (p.host, p.brief) not in told)
    notes = tuple(n for n in made.notes if part or n not in done.status.notes)
    lines = [*problems_text(problems, out.style), *(f"{out.style.note('note:')} {note}" for note in notes)]
    if done.exit_code is ExitCode.DONE:
        looked = ", as far as this command looks" if part else ""
        lines.append(summary(made) if problems else f"Nothing to do: {made.cluster} is as declared{looked}.")
    if lines:
        out.text("\n".join(lines))


def _converged_shape(made: Plan, done: Converged, code: int) -> dict[str, Any]:
    """Preflight's findings are in the plan that was made, and not in the run's; those that refuse, only if nothing was
    to be written."""
    from mlops_infra.app.shapes import results_shape, status_shape  # noqa: PLC0415
    from mlops_infra.engine.plan_json import plan_to_dict  # noqa: PLC0415

    problems = made.problems if made.is_empty else done.run.plan.problems
    return {
        "run": done.run.run_id,
        "exit_code": code,
        "plan": plan_to_dict(replace(done.run.plan, problems=problems, notes=made.notes)),
        "results": results_shape(done.run.results),
        "status": status_shape(done.status),
    }


def _try_out(
    platform: Platform, options: Options, out: Output, done: Converged
) -> tuple[dict[str, Any] | None, ExitCode]:
    """The smoke test at the end of `up`: only after a run that went well, and only if it changed something."""
    from mlops_infra.cli.smoke import run  # noqa: PLC0415
    from mlops_infra.ui.errors import as_json, show  # noqa: PLC0415
    from mlops_infra.ui.smoke import smoke_shape, smoke_text  # noqa: PLC0415

    if done.exit_code is not ExitCode.DONE or not done.run.changed:
        return None, done.exit_code
    out.text("")
    try:
        tried = run(platform.context, options, out)
    except InfraError as error:
        show(error)
        return as_json(error), ExitCode.CHANGES
    out.text(smoke_text(tried, out.style))
    return smoke_shape(tried), tried.exit_code


def asked_of(options: Options, phases: frozenset[str] | None = None, *, adopt: bool = False) -> Asked:
    from mlops_infra.app.platform import Asked  # noqa: PLC0415

    return Asked(options.config, options.lab, options.limit, phases, adopt)


def output_of(options: Options) -> Output:
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    return Output(as_json=options.json, verbose=options.verbose)


def asker(out: Output) -> Callable[[], Secret]:
    return lambda: out.ask_secret("sudo password")


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
