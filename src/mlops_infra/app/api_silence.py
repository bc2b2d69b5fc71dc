"""What is told when no API server answers: nothing is known then, which is not the same as there being nothing."""

from __future__ import annotations

from mlops_infra.engine.observation import Observation
from mlops_infra.errors import ExitCode, InfraError, UnreachableError

__all__ = ["not_asked", "nothing_known"]


def not_asked(what: str, seen: Observation) -> InfraError:
    """`what` completes "could be asked": `for events`. Exit 4 where no master was reached either."""
    return InfraError(
        f"No API server could be asked {what}",
        details="\n".join(f"{p.host}: {p.brief}" for p in seen.problems),
        cause="The control plane is down, not installed yet, or its masters cannot be reached.",
        remedy="mlops-infra doctor",
        exit_code=ExitCode.UNREACHABLE if not seen.facts else ExitCode.FAILED,
    )


def nothing_known(what: str, *, remedy: str = "mlops-infra status") -> UnreachableError:
    """`what` follows "No API server answers": `nothing is known of volumes`."""
    return UnreachableError(
        f"No API server answers: {what}",
        cause="The platform is not built yet, or its masters cannot be reached.",
        remedy=remedy,
    )
