"""Why a handshake failed, as one of our errors: what a person did not expect, and what mends it."""

from __future__ import annotations

from typing import NoReturn

from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, PasswordRequiredException

from mlops_infra.transport.errors import (
    AuthFailed,
    HostKeyChanged,
    HostKeyUnknown,
    KeyFileProblem,
    LinkLost,
    Refused,
    TransportError,
    where,
)
from mlops_infra.transport.known_hosts import HostKey
from mlops_infra.transport.sockets import refused, timed_out
from mlops_infra.transport.target import Target

__all__ = ["Transient", "changed_key", "handshake_problem", "judge_failure", "unknown_key"]


class Transient(Exception):  # noqa: N818
    """Worth another attempt; `problem` is what to say if that fails too."""

    def __init__(self, problem: TransportError) -> None:
        super().__init__(problem.brief)
        self.problem = problem


def judge_failure(target: Target, error: Exception) -> NoReturn:
    """What went wrong in the handshake, as one of our errors; raises Transient where it may pass."""
    if isinstance(error, TransportError):
        raise error
    if isinstance(error, BadHostKeyException):
        shown = HostKey(error.key.get_name(), error.key.get_base64())
        expected = HostKey(error.expected_key.get_name(), error.expected_key.get_base64())
        raise changed_key(target, shown, expected.fingerprint) from error
    if isinstance(error, PasswordRequiredException):
        raise KeyFileProblem(
            "the private key is encrypted and no agent holds it", host=target.name, remedy="ssh-add"
        ) from error
    if isinstance(error, AuthenticationException) or "authentication" in str(error).lower():
        raise _auth_failed(target, error) from error
    problem = handshake_problem(target, error)
    if isinstance(problem, Refused | LinkLost):
        raise Transient(problem) from error
    raise problem from error


def handshake_problem(target: Target, error: Exception) -> TransportError:
    text = str(error) or type(error).__name__
    if isinstance(error, TimeoutError) or "timed out" in text.lower() or "timeout" in text.lower():
        return timed_out(target, text)
    if isinstance(error, EOFError | ConnectionError) or "banner" in text or "Negotiation" in text or "EOF" in text:
        return refused(target, f"it closed the connection during the handshake ({text})")
    if "no acceptable" in text.lower() or "Incompatible" in text:
        return TransportError(
            f"{where(target)} and this program have no cipher or key type in common",
            host=target.name,
            details=text,
            cause="A very old sshd, or a very strict sshd_config.",
        )
    return Refused(f"the SSH handshake with {where(target)} failed", host=target.name, details=text)


def _auth_failed(target: Target, error: Exception) -> AuthFailed:
    key = f"the key {target.identity}" if target.identity else "any key of the agent or of ~/.ssh"
    option = f" -i {target.identity}" if target.identity else ""
    public = f"{target.identity}.pub" if target.identity else "the public key"
    return AuthFailed(
        f"{target.name} does not let {target.user} in with {key}",
        host=target.name,
        details=str(error),
        cause=f"{public} is not in authorized_keys of {target.user}, or there is no such user.",
        remedy=f"ssh-copy-id{option} -p {target.port} {target.user}@{target.address}",
    )


def unknown_key(target: Target, shown: HostKey) -> HostKeyUnknown:
    problem = HostKeyUnknown(
        f"the host key of {target.name} is not known yet",
        host=target.name,
        details=f"It shows {shown.kind} {shown.fingerprint}.",
        cause="This is the first contact with it.",
        remedy=f"mlops-infra hosts trust {target.name}",
    )
    problem.fingerprint = shown.fingerprint
    return problem


def changed_key(target: Target, shown: HostKey, expected: str) -> HostKeyChanged:
    problem = HostKeyChanged(
        f"{target.name} shows another host key than the pinned one",
        host=target.name,
        details=f"Pinned: {expected}. It shows: {shown.kind} {shown.fingerprint}.",
        cause="The machine was installed anew, or another one answers at its address: find out which.",
        remedy=(
            f"Only if you know why: mlops-infra hosts trust --replace {target.name}"
            if not target.host_key
            else f"Only if you know why: correct host_key of {target.name} in cluster.yaml"
        ),
    )
    problem.fingerprint, problem.kind = shown.fingerprint, shown.kind
    return problem
