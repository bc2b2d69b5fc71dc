"""Which keys are offered: an explicit one alone; else the agent's, then ssh's usual files."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paramiko import Agent, AgentKey, PKey
from paramiko.ssh_exception import PasswordRequiredException, SSHException

from mlops_infra.transport.errors import KeyFileProblem
from mlops_infra.transport.target import Target

__all__ = ["Identities"]


class Identities:
    """Private keys by path, each read and checked once for all hosts.

    A key that an agent holds is asked for anew by each host: it signs over a connection of its own, and two threads on
    one would take one another's answers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[Path, PKey] = {}

    @contextlib.contextmanager
    def login(self, target: Target, configured: tuple[Path, ...] = ()) -> Iterator[dict[str, Any]]:
        """The keyword arguments of `SSHClient.connect` that decide about keys, good until the end of the block.

        `configured`: IdentityFile lines of ~/.ssh/config, used where cluster.yaml names none. Raises KeyFileProblem.
        """
        words = self._words(target, configured)
        try:
            yield words
        finally:
            if isinstance(key := words.get("pkey"), AgentKey) and isinstance(key.agent, Agent):
                key.agent.close()

    def _words(self, target: Target, configured: tuple[Path, ...]) -> dict[str, Any]:
        alone = {"allow_agent": False, "look_for_keys": False}
        if target.identity is not None:
            return {**alone, "pkey": self._key(target, target.identity)}
        usable = [p for p in configured if p.is_file()]
        if usable:
            return {"pkey": self._key(target, usable[0]), "allow_agent": target.agent, "look_for_keys": False}
        return {"allow_agent": target.agent, "look_for_keys": True}

    def _key(self, target: Target, path: Path) -> PKey:
        with self._lock:
            found = self._keys.get(path) or _load(target, path)
            if not isinstance(found, AgentKey):
                self._keys[path] = found
            return found


def _load(target: Target, path: Path) -> PKey:
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise _problem(target, path, "may be read by others", f"chmod 600 {path}")
        return PKey.from_path(path)
    except FileNotFoundError as error:
        remedy = "Correct ssh.identity in cluster.yaml (relative paths start beside it), or: ssh-keygen -t ed25519"
        raise _problem(target, path, "is not there", remedy) from error
    except OSError as error:
        raise _problem(target, path, f"cannot be read ({error.strerror})", f"ls -l {path}") from error
    except PasswordRequiredException as error:
        key = _from_agent(path) if target.agent else None
        if key is None:
            raise _problem(target, path, "is encrypted and no agent holds it", f"ssh-add {path}") from error
        return key
    except (SSHException, ValueError, TypeError) as error:
        if isinstance(error, TypeError) and "password" in str(error).lower():
            key = _from_agent(path) if target.agent else None
            if key is not None:
                return key
            raise _problem(target, path, "is encrypted and no agent holds it", f"ssh-add {path}") from error
        raise _problem(target, path, "is no private key", f"Try: ssh-keygen -y -f {path}") from error


def _from_agent(path: Path) -> PKey | None:
    """The agent's key that belongs to this file, told by the public half beside it."""
    try:
        _, blob, *_ = Path(f"{path}.pub").read_text().split()
    except (OSError, ValueError):
        return None
    agent = Agent()
    found: PKey | None = next((key for key in agent.get_keys() if key.get_base64() == blob), None)
    if found is None:
        agent.close()
    return found


def _problem(target: Target, path: Path, what: str, remedy: str) -> KeyFileProblem:
    return KeyFileProblem(f"the private key {path} {what}", host=target.name, remedy=remedy)
