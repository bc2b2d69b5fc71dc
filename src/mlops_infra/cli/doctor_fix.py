"""`doctor --fix`: look, show what would be mended, ask, mend, look again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlops_infra.cli.flow import Relay, asked_of, asker
from mlops_infra.cli.options import Options
from mlops_infra.errors import ExitCode

if TYPE_CHECKING:
    from mlops_infra.app.doctor_fix import Repairs
    from mlops_infra.core import Plan
    from mlops_infra.doctor.diagnosis import Diagnosis
    from mlops_infra.engine.result import RunResult
    from mlops_infra.ui.output import Output

__all__ = ["mended"]


def mended(options: Options, out: Output, wanted: frozenset[str] | None, look_again: Callable[[], Diagnosis]) -> int:
    """The exit code is that of the look afterwards; of the first where nothing was done; 1 where a repair failed."""
    from mlops_infra.app.doctor import diagnosis_shape, examine  # noqa: PLC0415
    from mlops_infra.app.doctor_fix import mend, planned  # noqa: PLC0415
    from mlops_infra.app.platform import open_platform  # noqa: PLC0415
    from mlops_infra.ui.doctor import diagnosis_text  # noqa: PLC0415
    from mlops_infra.ui.progress import Progress  # noqa: PLC0415
    from mlops_infra.ui.report import results_text  # noqa: PLC0415

    relay = Relay()
    with open_platform(asked_of(options), emit=relay, ask_sudo_password=asker(out)) as platform:
        found = examine(platform, wanted)
        repairs, made = planned(platform, found)
        if made is None:
            out.text(diagnosis_text(found, out.style, all_lines=options.verbose > 0))
            if found.findings:
                out.aside("None of this can be mended safely without a person: the commands stand beside it.")
            out.answer({"repaired": None, **diagnosis_shape(found)})
            return found.exit_code
        _show(out, repairs, made)
        if not out.confirm("Mend this?", yes=options.yes):
            out.aside("Nothing was changed.")
            return ExitCode.FAILED
        with Progress(platform.shown, out.err, verbose=options.verbose) as relay.to:
            run = mend(platform, None if options.yes else made)
        out.text("\n" + results_text(run.results, out.style))
    after = look_again()
    out.text("\n" + diagnosis_text(after, out.style, all_lines=options.verbose > 0))
    code = run.exit_code if run.exit_code is not ExitCode.DONE else after.exit_code
    out.answer({**diagnosis_shape(after), "repaired": _shape(run), "exit_code": int(code)})
    return code


def _show(out: Output, repairs: Repairs, made: Plan) -> None:
    from mlops_infra.ui.doctor import repairs_text  # noqa: PLC0415
    from mlops_infra.ui.plan import plan_text  # noqa: PLC0415

    out.text(repairs_text(repairs, out.style))
    out.text(plan_text(made, out.style, all_lines=True))


def _shape(run: RunResult) -> dict[str, Any]:
    from mlops_infra.app.shapes import results_shape  # noqa: PLC0415

    return {"run": run.run_id, "exit_code": int(run.exit_code), "results": results_shape(run.results)}
