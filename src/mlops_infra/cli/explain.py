"""`explain`: a check of the doctor in words."""

from __future__ import annotations

import typer

from mlops_infra.cli.options import options_of

app = typer.Typer()


@app.command(epilog="Example:  mlops-infra explain etcd.quorum")
def explain(
    ctx: typer.Context,
    check: str = typer.Argument("", metavar="[ID]", help="The id of a check; all are listed without one."),
) -> None:
    """Say what a check of `doctor` asks, why it matters, and what it depends on. Asks nobody."""
    from mlops_infra.app.doctor import explained  # noqa: PLC0415
    from mlops_infra.doctor.catalogue import CHECKS  # noqa: PLC0415
    from mlops_infra.ui.doctor import explanation_text  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415
    from mlops_infra.ui.report import table  # noqa: PLC0415

    options = options_of(ctx)
    out = Output(as_json=options.json, verbose=options.verbose)
    if not check:
        out.text("\n".join(table([("CHECK", "ASKS"), *((c.id, c.title) for c in CHECKS)], out.style)))
        out.answer({"checks": [{"id": c.id, "title": c.title, "severity": c.severity.word} for c in CHECKS]})
        return
    found = explained(check)
    out.text(explanation_text(found, CHECKS, out.style))
    out.answer(
        {
            "id": found.id,
            "title": found.title,
            "severity": found.severity.word,
            "explanation": found.explanation,
            "depends_on": list(found.depends_on),
            "advice": found.advice,
        }
    )
