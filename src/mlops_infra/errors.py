"""The one error that users see, and the exit codes of every command (architecture.md, 4)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ConfigError", "ExitCode", "InfraError", "UnreachableError", "UsageError"]


class ExitCode(IntEnum):
    """What a command's exit status means. 4 beats 3 beats 2 where several hold."""

    DONE = 0
    FAILED = 1
    CHANGES = 2
    """Changes pending (`plan`) or findings (`doctor`)."""
    PARTLY = 3
    """Done on some hosts only."""
    UNREACHABLE = 4
    """Nothing could be reached."""
    CONFIG = 5
    USAGE = 64
    """Click's own 2 would read as drift."""
    INTERRUPTED = 130


class InfraError(Exception):
    """Something a person has to know: what happened, on which host, the likely cause, the command that mends it.

    Never printed by itself: `ui` composes the message from the fields.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(
        self,
        brief: str,
        *,
        host: str | None = None,
        details: str = "",
        cause: str = "",
        remedy: str = "",
        exit_code: ExitCode | None = None,
    ) -> None:
        super().__init__(brief)
        self.brief = brief
        self.host = host
        self.details = details
        self.cause = cause
        self.remedy = remedy
        if exit_code is not None:
            self.exit_code = exit_code


class ConfigError(InfraError):
    """cluster.yaml (or another input file) is wrong; nothing was touched."""

    exit_code = ExitCode.CONFIG


class UsageError(InfraError):
    """The command line is wrong."""

    exit_code = ExitCode.USAGE


class UnreachableError(InfraError):
    """Nothing answered."""

    exit_code = ExitCode.UNREACHABLE
