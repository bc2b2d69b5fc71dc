"""`doctor`: one look at the hosts, the API and the outside at once, judged by every check."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mlops_infra.app.backup_key import key_state
from mlops_infra.app.backup_store import bundles, directory_of
from mlops_infra.app.platform import Platform
from mlops_infra.core import API, Plan, Probe
from mlops_infra.doctor.catalogue import CHECKS
from mlops_infra.doctor.check import Check, named
from mlops_infra.doctor.diagnosis import Diagnosed, Diagnosis, closure, diagnose, wanted_checks
from mlops_infra.doctor.outside import ask_all, targets
from mlops_infra.doctor.view import Backup, Local, View
from mlops_infra.engine.observation import Observation
from mlops_infra.errors import InfraError, UsageError
from mlops_infra.model.cluster import Cluster

__all__ = ["chosen_checks", "diagnosis_shape", "examine", "explained", "local_of", "questions_of"]


def chosen_checks(only: Iterable[str]) -> frozenset[str] | None:
    """The checks that `--only` means; None for all. Raises UsageError for a word that means none."""
    words = [word.strip() for text in only for word in text.split(",") if word.strip()]
    if not words:
        return None
    try:
        return wanted_checks(CHECKS, words)
    except KeyError as error:
        areas = ", ".join(dict.fromkeys(check.area for check in CHECKS))
        raise UsageError(
            f"--only {error.args[0]}: there is no such check", remedy=f"Areas: {areas}; or the id of a check."
        ) from error


def explained(name: str) -> Check:
    """The check with this id. Raises UsageError when there is none."""
    for check in CHECKS:
        if check.id == name:
            return check
    near = [c.id for c in CHECKS if c.id.startswith(name.split(".", maxsplit=1)[0])]
    ids = ", ".join(near or (c.id for c in CHECKS))
    raise UsageError(f"There is no check {name}", remedy=f"Choose among: {ids}.")


def questions_of(cluster: Cluster, checks: Iterable[Check]) -> dict[str, frozenset[Probe[Any]]]:
    """What these checks want to know, by host and for the API."""
    found = list(checks)
    asked = {
        host.name: frozenset(
            probe
            for check in found
            if check.scope == "cluster" or cluster.role(host.name) in check.roles
            for probe in check.needs(cluster, host)
        )
        for host in cluster.all_hosts
    }
    return {**asked, API: frozenset(probe for check in found for probe in check.api(cluster))}


def examine(
    platform: Platform,
    wanted: frozenset[str] | None = None,
    more: Mapping[str, frozenset[Probe[Any]]] | None = None,
) -> Diagnosis:
    """Looks once, from inside and outside at the same time, and judges. Changes nothing.

    `more`: questions of the caller, asked in the same look.
    """
    begun = time.monotonic()
    cluster, limit = platform.cluster, platform.asked.limit
    table = named(CHECKS)
    asked = [table[i] for i in table if i in closure(table, wanted if wanted is not None else table)]
    questions = questions_of(cluster, asked)
    questions |= {who: questions.get(who, frozenset()) | probes for who, probes in (more or {}).items()}
    with ThreadPoolExecutor(1, thread_name_prefix="outside") as pool:
        outside = pool.submit(ask_all, targets(cluster) if any(c.outside for c in asked) else ())
        plan, no_plan, seen = _look(platform, questions, plan=any(c.plan for c in asked))
    view = View(
        cluster,
        seen,
        datetime.now(UTC),
        plan,
        no_plan,
        outside.result(),
        local_of(platform),
        limit,
    )
    found = diagnose(CHECKS, view, wanted)
    return replace(found, channels=platform.engine.channels, seconds=time.monotonic() - begun)


def _look(
    platform: Platform, questions: Mapping[str, frozenset[Probe[Any]]], *, plan: bool
) -> tuple[Plan | None, str, Observation]:
    if plan:
        try:
            made = platform.survey(questions)
            return made, "", platform.seen
        except InfraError as error:
            # The phases cannot be made (a manifest that cannot be fetched, a key that is not there): look without.
            return None, f"no plan: {error.brief}", platform.look(questions)
    return None, "not asked", platform.look(questions)


def local_of(platform: Platform) -> Local:
    """What the operator's own machine knows."""
    site = platform.context.site
    found = bundles(directory_of(platform.cluster, site), platform.cluster.name)
    warnings = tuple((w.path, w.message) for w in platform.context.warnings)
    key = key_state(platform.cluster, site)
    lone = str(key.path) if key.public is not None and not key.is_safe else ""
    return Local(warnings, tuple(Backup(str(b.path), b.created) for b in found), lone)


def diagnosis_shape(found: Diagnosis, shown: Iterable[Diagnosed] | None = None) -> dict[str, Any]:
    """The shape of docs/reference/json.md; `shown`: those of its findings that are meant, all where it is None."""
    return {
        "exit_code": int(found.exit_code),
        "findings": [_shape(one) for one in (found.findings if shown is None else shown)],
        "advice": [_shape(one) for one in found.advice],
        "skipped": [{"check": s.check, "host": s.host, "reason": s.reason} for s in found.skipped],
        "hosts": found.hosts,
        "unreachable": list(found.unreachable),
        "asked": found.asked,
        "channels": found.channels,
        "seconds": round(found.seconds, 2),
    }


def _shape(one: Diagnosed) -> dict[str, Any]:
    finding = one.finding
    return {
        "check": one.check,
        "severity": one.severity.word,
        "host": one.host,
        "hosts": list(finding.hosts) or ([one.host] if one.host else []),
        "brief": finding.brief,
        "evidence": finding.evidence,
        "cause": finding.cause,
        "remedy": finding.remedy,
        **({"follows": [_shape(f) for f in one.follows]} if one.follows else {}),
    }
