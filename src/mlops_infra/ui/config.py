"""How a configuration and its warnings are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from mlops_infra.app.context import SiteContext
from mlops_infra.model.problem import Problem
from mlops_infra.ui.console import style_for
from mlops_infra.ui.redact import redact

__all__ = ["show_json", "show_text", "show_valid", "show_warnings", "show_written"]


def show_warnings(warnings: Iterable[Problem], err: TextIO | None = None) -> None:
    """A line each, on stderr: they are advice, not output."""
    err = err or sys.stderr
    style = style_for(err)
    for warning in warnings:
        hint = f" {style.dim('(' + warning.hint + ')')}" if warning.hint else ""
        err.write(redact(f"{style.warn('warning:')} {warning.mark}: {warning.message}{hint}") + "\n")


def show_valid(site: SiteContext, out: TextIO | None = None, err: TextIO | None = None) -> None:
    """One line that says what the file describes, after its warnings."""
    show_warnings(site.warnings, err)
    out = out or sys.stdout
    style = style_for(out)
    hosts = site.cluster.hosts
    balancers = [_count(len(hosts.lb), "load balancer")] if hosts.lb else []
    parts = [*balancers, _count(len(hosts.masters), "master"), _count(len(hosts.workers), "worker")]
    overlay = f" with {site.loaded.overlay}" if site.loaded.overlay else ""
    out.write(f"{style.good('valid:')} {site.loaded.path}{overlay}: {site.cluster.name}, {', '.join(parts)}\n")


def show_written(path: str, warnings: Iterable[Problem], out: TextIO | None = None, err: TextIO | None = None) -> None:
    """What `init` did, and what comes next."""
    show_warnings(warnings, err)
    out = out or sys.stdout
    style = style_for(out)
    option = "" if path == "cluster.yaml" else f" -c {path}"
    out.write(f"{style.good('written:')} {path}\n")
    out.write(f"next: look it over, then `mlops-infra{option} hosts trust` and `mlops-infra{option} plan`\n")


def show_text(text: str, out: TextIO | None = None) -> None:
    (out or sys.stdout).write(redact(text))


def show_json(value: Any, out: TextIO | None = None) -> None:
    (out or sys.stdout).write(redact(json.dumps(value, indent=2)) + "\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
