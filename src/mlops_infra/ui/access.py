"""Who has access, and what of it can be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mlops_infra.app.access import Grant, Register
from mlops_infra.app.access_grant import Granted, Revoked
from mlops_infra.ui.console import Style
from mlops_infra.ui.report import table

__all__ = ["granted_shape", "granted_text", "register_shape", "register_text", "revoked_shape", "revoked_text"]

CAN = ("`mlops-infra access revoke NAME|ID` takes all rights of these at once, whatever their certificates say.",)
CANNOT = (
    "A certificate itself cannot be called back: until it expires it proves a name, and a name without rights can read "
    "the API's version and its own permissions.",
    "A service account's token that an operator has made outlives the operator: delete the account "
    "(`kubectl get serviceaccounts -A`).",
    "The administrator's kubeconfig is not among these. Without a new CA of the cluster it ends with its certificate "
    "alone (`mlops-infra doctor` tells when).",
)


def register_text(register: Register, style: Style) -> str:
    if not register.grants:
        return "Nobody has access but the administrator. `mlops-infra access kubeconfig --for NAME` gives it."
    rows: list[Sequence[str]] = [("NAME", "ROLE", "ID", "STATE", "EXPIRES (UTC)", "NAMESPACES", "GIVEN BY")]
    for one in register.grants:
        places = ", ".join(one.namespaces)
        rows.append((one.name, one.role, one.id, _state(one, register.at), _at(one.expires), places, one.issued_by))
    lines = table(rows, style)
    lines += ["", style.strong("What can be taken back before it expires")]
    lines += [f"  {text}" for text in CAN]
    lines += [style.strong("What cannot")]
    return "\n".join([*lines, *(f"  {text}" for text in CANNOT)])


def register_shape(register: Register) -> dict[str, Any]:
    """docs/reference/json.md, `access list`."""
    return {"grants": [{**_shape(g), "expired": g.has_ended(register.at)} for g in register.grants]}


def granted_text(done: Granted, style: Style) -> str:
    one = done.grant
    where = f", deploying in {', '.join(one.namespaces)}" if one.namespaces else ""
    article = "an" if one.role[0] in "aeiou" else "a"
    lines = [
        f"{style.strong(one.name)} is {article} {one.role} until {_at(one.expires)} UTC{where}.",
        f"kubeconfig {done.path}",
    ]
    if done.shorter:
        lines.append(f"{style.note('note:')} the cluster signs for no longer than that")
    lines += [
        f"{style.warn('warning:')} {name} enforces no Pod Security level: {one.name} can start a pod there that is "
        "root on its node. docs/how-to/access.md tells how to look and end it"
        for name in done.open
    ]
    lines.append("It holds the private key: hand it over as you would a password, and keep no copy.")
    return "\n".join(lines)


def granted_shape(done: Granted) -> dict[str, Any]:
    return {**_shape(done.grant), "kubeconfig": str(done.path), "server": done.server, "open": list(done.open)}


def revoked_text(done: Revoked, style: Style) -> str:
    lines = [f"{style.strong(g.name)} ({g.role}, {g.id}) has no rights any more." for g in done.gone]
    lines += [
        f"{style.note('note:')} the certificate of {g.name} ({g.id}) is believed until {_at(g.expires)} UTC; "
        "it proves a name that has no rights"
        for g in done.still_valid
    ]
    lines += [
        f"{style.warn('warning:')} {user} can still read pods: another binding than ours names this user or its group "
        "(`kubectl get clusterrolebindings,rolebindings -A -o wide`)"
        for user in done.more
    ]
    if any(g.role == "operator" for g in done.gone):
        lines.append(f"{style.note('note:')} {CANNOT[1]}")
    return "\n".join(lines)


def revoked_shape(done: Revoked) -> dict[str, Any]:
    return {
        "revoked": [_shape(g) for g in done.gone],
        "certificates_still_valid": [g.id for g in done.still_valid],
        "rights_left": list(done.more),
    }


def _shape(one: Grant) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "role": one.role,
        "user": one.user,
        "issued": one.issued.isoformat(),
        "expires": one.expires.isoformat(),
        "issued_by": one.issued_by,
        "namespaces": list(one.namespaces),
    }


def _state(one: Grant, now: datetime) -> str:
    if one.has_ended(now):
        return "expired"
    minutes = int((one.expires - now).total_seconds() // 60)
    if minutes >= 2 * 1440:
        return f"{minutes // 1440} d left"
    return f"{minutes // 60} h left" if minutes >= 120 else f"{minutes} min left"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
