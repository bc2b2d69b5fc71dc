"""How an error is shown: what happened, where, why it usually happens, the command that mends it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from mlops_infra.errors import InfraError
from mlops_infra.model.problem import ConfigProblems
from mlops_infra.ui.console import Style, style_for
from mlops_infra.ui.redact import redact

__all__ = ["as_json", "compose", "show", "unexpected"]


def show(error: InfraError, *, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
    """Writes an error for a person to stderr; with `as_json` also as an object to stdout."""
    err = err or sys.stderr
    err.write(redact(compose(error, style_for(err))) + "\n")
    if as_json:
        (out or sys.stdout).write(redact(json.dumps(_object(error), indent=2)) + "\n")


def as_json(error: InfraError) -> dict[str, Any]:
    """The error as the object of docs/reference/json.md."""
    return _object(error)


def compose(error: InfraError, style: Style) -> str:
    """The whole message; empty parts are left out."""
    where = f"{error.host}: " if error.host else ""
    lines = [f"{style.bad('error:')} {style.strong(where + error.brief)}"]
    lines += [f"  {line}" for problem in problems_of(error) for line in problem.splitlines()]
    lines += [f"  {line}" for line in error.details.strip().splitlines()]
    if error.cause:
        lines.append(f"{style.dim('why:')} {error.cause}")
    if error.remedy:
        lines.append(f"{style.dim('try:')} {error.remedy}")
    return "\n".join(lines)


def problems_of(error: InfraError) -> list[str]:
    """Each problem of a configuration error as text, when the error carries a list and not only details."""
    problems = getattr(error, "problems", ())
    texts = [str(problem) for problem in problems]
    return [] if error.details and all(text in error.details for text in texts) else texts


def _object(error: InfraError) -> dict[str, Any]:
    fields = {
        "brief": error.brief,
        "host": error.host,
        "details": error.details,
        "cause": error.cause,
        "remedy": error.remedy,
        "exit_code": int(error.exit_code),
    }
    problems = [problem.as_object() for problem in error.problems] if isinstance(error, ConfigProblems) else []
    return {"error": {**fields, **({"problems": problems} if problems else {})}}


def unexpected(error: BaseException) -> InfraError:
    """A fault of the program itself: the trace goes to a file (0600), the person gets its path."""
    text = "".join(traceback.format_exception(error))
    path = _write_trace(redact(text))
    return InfraError(
        f"mlops-infra itself failed: {type(error).__name__}: {error}",
        cause="This is a fault in the program, not in your file or your hosts.",
        remedy=f"The full trace is in {path}; please report it. Running the same command again is safe.",
    )


def _write_trace(text: str) -> str:
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mlops-infra"
    name = time.strftime("crash-%Y%m%dT%H%M%SZ-", time.gmtime())
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(prefix=name, suffix=".log", dir=base)
    except OSError:
        handle, path = tempfile.mkstemp(prefix=name, suffix=".log")
    with os.fdopen(handle, "w") as out:
        out.write(text)
    return path
