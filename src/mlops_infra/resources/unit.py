"""systemd units: enabled, running, masked; and the handlers that restart and reload them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops_infra.core import ABSENT, Change, Facts, Handler, Kind, Probe, Shell, Unit, UnitFact
from mlops_infra.resources.text import quote, transition

__all__ = ["UnitState", "daemon_reload", "reload_unit", "restart_unit"]

_ENABLED = frozenset({"enabled", "static", "alias", "indirect", "generated", "transient", "linked"})
"""UnitFileStates at which there is nothing (more) to enable."""
_NOT_ENABLED = frozenset({"", "disabled", "static", "masked", "masked-runtime", "indirect", "generated", "transient"})
_MASKED = frozenset({"masked"})


def daemon_reload() -> Handler:
    """systemd reads its unit files again; before any restart."""
    return Handler("daemon-reload", "systemctl daemon-reload\n", order=10, title="systemd reads its units again")


def restart_unit(name: str, *, order: int = 60, deadline: int = 120) -> Handler:
    """Restarts a unit once at the end of the batch; what the unit said goes into the output when it fails."""
    return Handler(f"restart:{name}", _telling(name, "restart"), order, deadline, f"restart {name}")


def reload_unit(name: str, *, order: int = 50, deadline: int = 120) -> Handler:
    """Reloads a running unit, starts it when it does not run. Left out where the same batch restarts the unit."""
    return Handler(f"reload:{name}", _telling(name, "reload-or-restart"), order, deadline, f"reload {name}")


@dataclass(frozen=True, slots=True)
class UnitState:
    """How a unit must stand. None means: not looked at. `masked` is stronger than the other two.

    `enabled` is satisfied by units that cannot be enabled (static, generated …). A unit in a crash loop does not
    count as active.
    """

    name: str
    enabled: bool | None = None
    active: bool | None = None
    masked: bool = False
    deadline: int = 120

    @property
    def id(self) -> str:
        return f"unit:{self.name}"

    @property
    def title(self) -> str:
        return f"unit {self.name}"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Unit(self.name)})

    def diff(self, facts: Facts) -> Change | None:
        fact = facts.answer(Unit(self.name))
        if self.masked:
            return self._diff_masked(fact)
        if not isinstance(fact, UnitFact):
            if not self.enabled and not self.active:
                return None
            reason = "not there yet" if fact == ABSENT else "state not known"
            return self._change(Kind.CREATE, [reason], [], self._verbs(UnitFact("", "", "", "", needs_reload=True)))
        reasons, lines = self._differences(fact)
        if not reasons:
            return None
        return self._change(Kind.UPDATE, reasons, lines, self._verbs(fact))

    def _differences(self, fact: UnitFact) -> tuple[list[str], list[str]]:
        reasons, lines = [], []
        if fact.enabled in {"masked", "masked-runtime"} and (self.enabled or self.active):
            reasons.append("masked")
            lines.append(transition("state", fact.enabled, "unmasked"))
        elif self.enabled is not None and fact.enabled not in (_ENABLED if self.enabled else _NOT_ENABLED):
            wanted = "enabled" if self.enabled else "disabled"
            reasons.append(f"not {wanted}")
            lines.append(transition("enabled", fact.enabled or "(none)", wanted))
        if self.active is not None and _is_active(fact) is not self.active:
            reasons.append("not running" if self.active else "running")
            lines.append(transition("active", f"{fact.active} ({fact.sub})", "active" if self.active else "inactive"))
        if fact.needs_reload and (self.enabled or self.active):
            reasons.append("unit file changed on disk")
        return reasons, lines

    def _verbs(self, fact: UnitFact) -> list[str]:
        name, verbs = quote(self.name), []
        if fact.needs_reload:
            verbs.append("systemctl daemon-reload")
        if fact.enabled in {"", "masked", "masked-runtime"} and (self.enabled or self.active):
            verbs.append(f"systemctl -q unmask {name}")
        if self.enabled is not None and fact.enabled not in (_ENABLED if self.enabled else _NOT_ENABLED):
            verbs.append(f"systemctl -q {'enable' if self.enabled else 'disable'} {name}")
        elif self.enabled and not fact.enabled:
            verbs.append(f"systemctl -q enable {name}")
        if self.active is not None and _is_active(fact) is not self.active:
            verbs.append(_telling(self.name, "start").rstrip() if self.active else f"systemctl stop {name}")
        return verbs

    def _diff_masked(self, fact: object) -> Change | None:
        if isinstance(fact, UnitFact) and fact.enabled in _MASKED and not _is_active(fact):
            return None
        now = fact.enabled or fact.load if isinstance(fact, UnitFact) else "absent"
        reason = "running" if isinstance(fact, UnitFact) and fact.enabled in _MASKED else "not masked"
        name = quote(self.name)
        verbs = [f"systemctl -q mask {name}", f"systemctl stop {name} || :"]
        return self._change(Kind.UPDATE, [reason], [transition("state", now, "masked")], verbs)

    def _change(self, kind: Kind, reasons: list[str], lines: list[str], verbs: list[str]) -> Change:
        action = Shell(self.title, "\n".join(verbs) + "\n", self.deadline)
        return Change(self.id, self.title, kind, ", ".join(reasons), (action,), "\n".join(lines) or self._wanted())

    def _wanted(self) -> str:
        said = [("enabled" if self.enabled else "disabled")] if self.enabled is not None else []
        said += [("active" if self.active else "inactive")] if self.active is not None else []
        return transition("state", "?", ", ".join(said))


def _is_active(fact: UnitFact) -> bool:
    return fact.active in {"active", "reloading", "activating"} and fact.sub != "auto-restart"


def _telling(name: str, verb: str) -> str:
    """A start or restart that shows the unit's last words when it fails: they are what a person looks for."""
    unit = quote(name)
    words = f"systemctl --no-pager --full -n 0 status {unit} || :; journalctl --no-pager -q -n 30 -u {unit} || :"
    told = f"{{ {words}; exit 1; }}"
    return (
        f"systemctl reset-failed {unit} 2>/dev/null || :\n"
        f"systemctl {verb} {unit} || {told}\n"
        # Of a simple service systemd calls the start good before the program has looked at its configuration.
        f"case $(systemctl show -p Type {unit}) in *=simple|*=exec) sleep 0.5 ;; esac\n"
        f"! systemctl -q is-failed {unit} || {told}\n"
    )
