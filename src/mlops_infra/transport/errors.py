# ruff: noqa: N818  -- named for what happened, as people say it
"""Everything that can go wrong between here and a host, each with its usual cause and the command that mends it."""

from __future__ import annotations

import re

from mlops_infra.errors import ExitCode, InfraError
from mlops_infra.transport.session import Reply
from mlops_infra.transport.target import Target

__all__ = [
    "AuthFailed",
    "BastionProblem",
    "HostKeyChanged",
    "HostKeyUnknown",
    "KeyFileProblem",
    "LinkLost",
    "MissingTool",
    "NameUnknown",
    "NoRoute",
    "NoSpace",
    "Refused",
    "SudoDenied",
    "TimedOut",
    "TransportError",
    "TruncatedAnswer",
    "explain",
]


class TransportError(InfraError):
    """Base of all of them; `host` is always set. By itself it means: this host could not be spoken to."""

    exit_code = ExitCode.UNREACHABLE


class Refused(TransportError):
    """Nothing listens there, or the connection was reset before it was made."""


class TimedOut(TransportError):
    """No answer in time: to the connection, or to a command (then `details` has what it had said)."""


class NoRoute(TransportError):
    """The network says that there is no way to the host."""


class NameUnknown(TransportError):
    """The address is a name that does not resolve."""


class AuthFailed(TransportError):
    """The host does not accept our user or key."""


class KeyFileProblem(AuthFailed):
    """The private key file is missing, unreadable, encrypted or no key at all."""


class HostKeyUnknown(TransportError):
    """The host's key was never pinned. `fingerprint` is what it showed."""

    fingerprint: str = ""


class HostKeyChanged(TransportError):
    """The host showed another key than the pinned one. Never retried."""

    fingerprint: str = ""
    kind: str = ""
    """Type of the key that it showed."""


class BastionProblem(TransportError):
    """The bastion in front of the host cannot be used; `__cause__` is its own error."""


class SudoDenied(TransportError):
    """Logged in, but root's rights were refused."""


class LinkLost(TransportError):
    """The connection broke in the middle: what was asked for may or may not have been done."""


class TruncatedAnswer(TransportError):
    """The answer has no end, another end or another length than it says: a fault of the way, never `absent`."""


class NoSpace(TransportError):
    """A file system of the host is full."""

    exit_code = ExitCode.FAILED


class MissingTool(TransportError):
    """The host lacks something that every supported one has."""

    exit_code = ExitCode.FAILED


def where(target: Target) -> str:
    """`user@address` with the port where it is not 22, for people."""
    port = "" if target.port == 22 else f":{target.port}"
    return f"{target.user}@{target.address}{port}"


_NOT_FOUND = re.compile(
    r"(?:sh|bash|env|timeout|sudo|exec)?:? ?(?:\d+: |line \d+: )*[‘'\"]?([\w./+-]+)[’'\"]?: (?:command )?not found"
)


def explain(reply: Reply, host: str) -> TransportError | None:
    """What a failed reply (rc not 0) means, where stderr says it plainly: a full disk, a missing tool. Else None."""
    if reply.rc == 0:
        return None
    if "No space left on device" in reply.stderr or "Disk quota exceeded" in reply.stderr:
        return NoSpace(
            "no space left on the host",
            host=host,
            details=_tail(reply.stderr),
            cause="A file system is full: usually / , /var or /run.",
            remedy=f"mlops-infra hosts exec --limit {host} -- df -h   shows which; free some space and run again.",
        )
    if reply.rc in (126, 127):
        found = _NOT_FOUND.search(reply.stderr)
        tool = found.group(1) if found else ""
        return MissingTool(
            f"{tool or 'a tool'} is missing on the host",
            host=host,
            details=_tail(reply.stderr),
            cause="Supported are Debian and Ubuntu with coreutils; a minimal image may lack something.",
            remedy=f"Install {tool or 'it'} there, e.g. apt-get install --reinstall coreutils sudo tar.",
        )
    return None


def _tail(text: str, lines: int = 5) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
