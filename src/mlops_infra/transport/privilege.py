"""Root's rights: how a command is wrapped, and the handshake before anything is written to it (engine.md A5).

The remote side says READY (a random word) on stdout when our command is about to start. Where sudo may ask for a
password, nothing is written before either READY or sudo's prompt (another random word, on stderr) was seen: without
a prompt, `sh` would read the password as its first command. It is written once; a second prompt means that it is wrong.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from math import ceil
from shlex import quote
from typing import Literal

from mlops_infra.transport.errors import MissingTool, SudoDenied, TransportError
from mlops_infra.transport.target import Target

__all__ = ["KILL_AFTER", "Way", "Wrapped", "denial", "way_of", "wrap", "wrong_password"]

KILL_AFTER = 5
"""Seconds between the remote TERM and KILL."""

_PLAIN = re.compile(r"sh( -[a-z]+)+")
"""Commands that need no shell to start them."""

Way = Literal["root", "nopasswd", "ask"]
"""`ask`: sudo reads a password from stdin if it wants one."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A command line for the login shell, and the two words to look for. `prompt` is empty where none can come."""

    line: str
    ready: bytes
    prompt: bytes


def way_of(target: Target) -> Way:
    """How the first exchange with a host becomes root. `auto` learns from it what the later ones need."""
    if target.sudo == "root" or (target.sudo == "auto" and target.user == "root"):
        return "root"
    return "nopasswd" if target.sudo == "nopasswd" else "ask"


def wrap(command: str, way: Way, deadline: float | None) -> Wrapped:
    """`deadline` in seconds: the host itself ends the command and its process group then."""
    ready, prompt = secrets.token_hex(12), secrets.token_hex(12)
    limit = f"timeout -k {KILL_AFTER} {ceil(deadline)} " if deadline is not None else ""
    # Each shell in between costs the host a millisecond. These words mean the same in whatever shell the user has.
    inner = f"echo {ready}; exec {limit}{command if _PLAIN.fullmatch(command) else f'sh -c {quote(command)}'}"
    if way == "root":
        return Wrapped(inner, ready.encode(), b"")
    inner = f"sh -c {quote(inner)}"
    match way:
        case "nopasswd":
            return Wrapped(f"exec env LC_ALL=C sudo -n -- {inner}", ready.encode(), b"")
        case _:
            return Wrapped(f"exec env LC_ALL=C sudo -S -p {prompt} -- {inner}", ready.encode(), prompt.encode())


def wrong_password(target: Target) -> SudoDenied:
    return SudoDenied(
        f"sudo on {target.name} does not accept the password of {target.user}",
        host=target.name,
        cause="A typing error, or the password differs from host to host.",
        remedy="Run again, or give it in cluster.yaml (ssh.sudo_password: {file: …} or {env: …}).",
    )


def no_password(target: Target, why: str = "") -> SudoDenied:
    return SudoDenied(
        f"sudo on {target.name} wants a password and none was given",
        host=target.name,
        cause=why or "Nobody could be asked for it, and cluster.yaml names none.",
        remedy="Name it in cluster.yaml (ssh.sudo_password: {file: …} or {env: …}), or allow "
        f"{target.user} NOPASSWD in /etc/sudoers.d.",
    )


def denial(target: Target, said: str, rc: int, way: Way) -> TransportError:
    """Why our command never started, from what sudo or the login shell said."""
    text = said.strip()
    lower = text.lower()
    if way != "root" and rc == 127 and "sudo" in lower:
        return MissingTool(
            f"sudo is missing on {target.name}",
            cause=f"{target.user} is not root, and the host has no sudo.",
            remedy="As root there: apt-get install sudo; or log in as root (ssh.user: root).",
            host=target.name,
            details=text[-400:],
        )
    if "no tty present" in lower or "must have a tty" in lower:
        cause, remedy = (
            "`Defaults requiretty` is set in sudoers.",
            f"As root there: `Defaults:{target.user} !requiretty`",
        )
    elif "password is required" in lower:
        cause = (
            f"sudo wants a password from {target.user}, and cluster.yaml says that it does not (ssh.sudo: nopasswd)."
        )
        remedy = f"ssh.sudo: password in cluster.yaml, or `{target.user} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d."
    elif "incorrect password" in lower or "sorry, try again" in lower:
        return wrong_password(target)
    elif "sudo" in lower or way != "root":
        cause = f"{target.user} may not run commands as root."
        remedy = f"As root there: `{target.user} ALL=(ALL) ALL` in /etc/sudoers.d (visudo -f)."
    else:
        return MissingTool(
            f"{target.user} gets no shell on {target.name}",
            cause="The account's login shell does not run commands (nologin, ForceCommand), or `timeout` is missing.",
            remedy=f"Try: ssh -p {target.port} {target.user}@{target.address} true",
            host=target.name,
            details=text[-400:],
        )
    return SudoDenied(
        f"sudo is refused to {target.user} on {target.name}",
        host=target.name,
        details=text[-400:],
        cause=cause,
        remedy=remedy,
    )
