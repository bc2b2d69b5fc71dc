"""`doctor`: what is wrong, why, and the command that mends it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import typer

from mlops_infra.cli.doctor_bundle import bundle
from mlops_infra.cli.doctor_fix import mended
from mlops_infra.cli.options import Options, options_of
from mlops_infra.errors import ExitCode, InfraError, UsageError

if TYPE_CHECKING:
    from mlops_infra.app.doctor_since import Memory
    from mlops_infra.doctor.diagnosis import Diagnosis
    from mlops_infra.model.site import Site
    from mlops_infra.ui.output import Output

app = typer.Typer()
app.command()(bundle)


@app.callback(
    invoke_without_command=True,
    epilog="Examples:  mlops-infra doctor  |  mlops-infra doctor --only etcd,lb  |  mlops-infra doctor --since-last",
)
def doctor(
    ctx: typer.Context,
    *,
    only: list[str] = typer.Option([], "--only", metavar="AREA", help="Only these areas or checks (etcd,lb)."),
    since_last: bool = typer.Option(False, "--since-last", help="Only what is new since the last look; exit 2: it is."),
    fix: bool = typer.Option(False, "--fix", help="Mend what is safe: a plan is shown first, and asked about (--yes)."),
    watch: bool = typer.Option(False, "-w", "--watch", help="Look again and again until Ctrl-C."),
    interval: float = typer.Option(15.0, "--interval", min=2.0, help="Seconds between two looks of --watch."),
) -> int:
    """Examine the platform: what is wrong, most urgent first, why, and the command that mends it.

    Changes nothing, but for --fix, which starts what of ours should run, turns swap off, sets kernel settings and has
    the approver look at the kubelets' certificates. It looks again afterwards: the exit code is of that look.

    Exit codes: 0 healthy, 2 findings, 3 some hosts could not be reached, 4 none. Advice is no finding.
    """
    from mlops_infra.app.doctor import chosen_checks  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    if ctx.invoked_subcommand is not None:
        return ExitCode.DONE
    options = options_of(ctx)
    _check(options, watch=watch, since_last=since_last, fix=fix)
    out = Output(as_json=options.json, verbose=options.verbose)
    wanted = chosen_checks(only)
    if fix:
        return mended(options, out, wanted, lambda: _look(options, out, wanted)[0])
    found, site = _look(options, out, wanted)
    if watch:
        _watch(options, out, wanted, found, interval)
    return _tell(options, out, found, site, whole=wanted is None and not options.limit, since_last=since_last)


def _tell(options: Options, out: Output, found: Diagnosis, site: Site, *, whole: bool, since_last: bool) -> int:
    """Shows a look, or what is new in it; remembers it when it was of everything."""
    from mlops_infra.app.doctor import diagnosis_shape  # noqa: PLC0415
    from mlops_infra.app.doctor_since import news_of, news_shape, recall, remember  # noqa: PLC0415
    from mlops_infra.ui.doctor import diagnosis_text, news_text  # noqa: PLC0415

    news = news_of(found, recall(site), datetime.now(UTC))
    if whole and not remember(site, news.now):
        out.aside(f"this look is not remembered: {site.directory} cannot be written to")
    all_lines = options.verbose > 0
    if not since_last:
        out.text(diagnosis_text(found, out.style, all_lines=all_lines))
        out.answer(diagnosis_shape(found))
        return found.exit_code
    code = found.exit_code
    if code is ExitCode.CHANGES and not news.new:
        code = ExitCode.DONE
    out.text(news_text(news, found, out.style, whole=whole, all_lines=all_lines))
    shape = diagnosis_shape(found, shown=news.new)
    out.answer({**shape, **news_shape(news, whole=whole), "exit_code": int(code)})
    return code


def _look(options: Options, out: Output, wanted: frozenset[str] | None) -> tuple[Diagnosis, Site]:
    from mlops_infra.app.doctor import examine  # noqa: PLC0415
    from mlops_infra.app.platform import Asked, open_platform  # noqa: PLC0415

    with open_platform(
        Asked(options.config, options.lab, options.limit),
        emit=lambda event: None,
        ask_sudo_password=lambda: out.ask_secret("sudo password"),
    ) as platform:
        return examine(platform, wanted), platform.context.site


def _watch(options: Options, out: Output, wanted: frozenset[str] | None, found: Diagnosis, interval: float) -> NoReturn:
    """Until Ctrl-C. What came and went since the beginning is told below the findings; nothing is remembered."""
    from mlops_infra.app.doctor_since import news_of  # noqa: PLC0415
    from mlops_infra.app.ending import ended_by_sigterm  # noqa: PLC0415
    from mlops_infra.ui.doctor_watch import Told, watched_text  # noqa: PLC0415
    from mlops_infra.ui.errors import compose  # noqa: PLC0415
    from mlops_infra.ui.screen import Screen  # noqa: PLC0415

    last: Memory | None = None
    told = Told()
    with ended_by_sigterm(), Screen(out.out, out.redact) as screen:
        while True:
            now = datetime.now(UTC)
            news = news_of(found, last, now)
            told.learn(news)
            last = news.now
            text = watched_text(found, told, out.style, interval, now, all_lines=options.verbose > 0)
            screen.show(text)
            time.sleep(interval)
            while True:
                try:
                    found, _ = _look(options, out, wanted)
                    break
                except InfraError as error:
                    # cluster.yaml is being edited, say: told in its place, and the next look is tried.
                    screen.show(compose(error, out.style))
                    time.sleep(interval)


def _check(options: Options, *, watch: bool, since_last: bool, fix: bool) -> None:
    if fix and (watch or since_last):
        raise UsageError("--fix goes without --watch and --since-last", remedy="Leave one of them out.")
    if watch and (options.json or since_last):
        other = "--json" if options.json else "--since-last"
        raise UsageError(f"--watch shows a screen: it goes without {other}", remedy="Leave one of them out.")
