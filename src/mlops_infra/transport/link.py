"""Authenticated connections: Fabric over our own sockets, with pinned host keys. Only this module imports Fabric."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import fabric
import paramiko
from paramiko.hostkeys import HostKeyEntry
from paramiko.ssh_exception import ChannelException, SSHException

from mlops_infra.transport.errors import BastionProblem, HostKeyChanged, Refused, TransportError, where
from mlops_infra.transport.failures import Transient, changed_key, handshake_problem, judge_failure, unknown_key
from mlops_infra.transport.identity import Identities
from mlops_infra.transport.known_hosts import HostKey, read_known_hosts, same_fingerprint
from mlops_infra.transport.sockets import open_socket, refused, timed_out
from mlops_infra.transport.target import Target

__all__ = ["Links"]

ATTEMPTS = 4
"""One and three more, for what is likely to pass: refused, reset, closed before the banner (MaxStartups)."""

THROUGH_A_BASTION = 8
"""Handshakes at once through one bastion: sshd starts to drop them at ten (MaxStartups 10:30:100)."""

HANDSHAKES = 32
"""Handshakes at once: they compute more than they wait. Of 200 begun together on two busy cores, 118 came too late."""

REMEMBER = 10.0
"""Seconds for which a failure to reach the bastion holds for all: nobody waits for the same timeout again."""

# paramiko reports a failed handshake on stderr by itself where nobody listens to its log.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class _Judge(paramiko.MissingHostKeyPolicy):
    """Asked where paramiko knows no key: accepts what matches the fingerprint in cluster.yaml, nothing else."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        shown = HostKey(key.get_name(), key.get_base64())
        pinned = self._target.host_key
        if pinned is None:
            raise unknown_key(self._target, shown)
        if not same_fingerprint(pinned, shown.fingerprint):
            raise changed_key(self._target, shown, f"{pinned} (cluster.yaml)")


class Bastion:
    """One shared connection to a bastion, made when first needed and again after it died."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.slots = threading.BoundedSemaphore(THROUGH_A_BASTION)
        self.lock = threading.Lock()
        self.connection: fabric.Connection | None = None
        self.problem: TransportError | None = None
        self.failed_at = 0.0


class Links:
    """Opens connections; shared by all threads of a transport."""

    def __init__(self, known_hosts: Path, ssh_config: Path | None) -> None:
        self._known = read_known_hosts(known_hosts)
        self._ssh_config = _read_ssh_config(ssh_config)
        self._identities = Identities()
        self._bastions: dict[tuple[str, int, str], Bastion] = {}
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(HANDSHAKES)

    def open(self, target: Target) -> fabric.Connection:
        """A live connection within the target's connect_timeout. Raises a TransportError."""
        target, keys = self._configured(target)
        with self._identities.login(target, keys) as login:
            until = time.monotonic() + target.connect_timeout
            try:
                return self._persistent(target, login, until)
            except HostKeyChanged as error:
                if not target.host_key:
                    raise
                return self._other_types(target, login, until, error)

    def _other_types(
        self, target: Target, login: dict[str, Any], until: float, first: HostKeyChanged
    ) -> fabric.Connection:
        """A fingerprint says nothing about the key's type: ask for the host's other keys before calling it changed."""
        refused_types: list[str] = []
        problem = first
        while problem.kind:
            refused_types += ["rsa-sha2-256", "rsa-sha2-512"] if problem.kind == "ssh-rsa" else [problem.kind]
            try:
                return self._persistent(target, {**login, "disabled_algorithms": {"keys": list(refused_types)}}, until)
            except HostKeyChanged as error:
                problem = error
            except TransportError:
                break
        raise first

    def _persistent(self, target: Target, login: dict[str, Any], until: float) -> fabric.Connection:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(target, login, until)
            except Transient as error:
                pause = 0.2 * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311
                if attempt == ATTEMPTS or time.monotonic() + pause >= until:
                    raise error.problem from error.__cause__
                time.sleep(pause)
        raise AssertionError("unreachable")

    def scan(self, target: Target, kind: str | None) -> HostKey:
        """The host's key, the best type it has, without logging in (through the bastion, which must be trusted)."""
        until = time.monotonic() + target.connect_timeout
        target, _ = self._configured(target)
        with self._socket(target, until) as sock:
            transport = paramiko.Transport(sock)
            try:
                options = transport.get_security_options()
                first = ("rsa-sha2-512",) if kind == "ssh-rsa" else (kind or "ssh-ed25519",)
                known = [k for k in (*first, "ssh-ed25519", *options.key_types) if k in options.key_types]
                options.key_types = tuple(dict.fromkeys(known))
                transport.banner_timeout = max(until - time.monotonic(), 0.1)
                transport.start_client(timeout=max(until - time.monotonic(), 0.1))
                key = transport.get_remote_server_key()
                return HostKey(key.get_name(), key.get_base64())
            except (SSHException, EOFError, OSError) as error:
                raise handshake_problem(target, error) from error
            finally:
                transport.close()

    def close(self) -> None:
        with self._lock:
            bastions = list(self._bastions.values())
            self._bastions.clear()
        for bastion in bastions:
            if bastion.connection is not None:
                close_quietly(bastion.connection)

    def _attempt(self, target: Target, login: dict[str, Any], until: float) -> fabric.Connection:
        try:
            with self._socket(target, until) as sock:
                connected = time.monotonic()
                with self._turns:
                    # Waiting for our own processors is not the host's fault, and does not shorten its time.
                    return self._handshake(target, sock, login, until + time.monotonic() - connected)
        except Refused as error:
            raise Transient(error) from error

    @contextlib.contextmanager
    def _socket(self, target: Target, until: float) -> Any:
        """A socket, or a channel through the bastion, closed again when its use fails."""
        with contextlib.ExitStack() as stack:
            if target.bastion is None:
                sock: Any = open_socket(target, until - time.monotonic())
            else:
                bastion = self._bastion(target.bastion)
                stack.enter_context(bastion.slots)
                sock = self._through(bastion, target, until)
            try:
                yield sock
            except BaseException:
                sock.close()
                raise

    def _bastion(self, target: Target) -> Bastion:
        with self._lock:
            return self._bastions.setdefault((target.address, target.port, target.user), Bastion(target))

    def _through(self, bastion: Bastion, target: Target, until: float) -> paramiko.Channel:
        with bastion.lock:
            transport = self._bastion_transport(bastion, target)
        try:
            channel: paramiko.Channel = transport.open_channel(
                "direct-tcpip", (target.address, target.port), ("", 0), timeout=max(until - time.monotonic(), 0.1)
            )
        except ChannelException as error:
            problem = refused(target, f"said the bastion {where(bastion.target)}: {error}")
            if error.code == 1:
                problem.cause = "The bastion forbids forwarding."
                problem.remedy = "On the bastion, in sshd_config: AllowTcpForwarding yes"
            raise problem from error
        except (SSHException, EOFError, OSError) as error:
            raise timed_out(target, f"through the bastion {where(bastion.target)}: {error}") from error
        return channel

    def _bastion_transport(self, bastion: Bastion, target: Target) -> paramiko.Transport:
        """The live connection to the bastion; its lock is held. Its troubles are told as the target's."""
        if bastion.connection is None or not bastion.connection.transport.is_active():
            if bastion.problem is None or time.monotonic() - bastion.failed_at > REMEMBER:
                try:
                    bastion.connection, bastion.problem = self.open(bastion.target), None
                except TransportError as error:
                    bastion.problem, bastion.failed_at = error, time.monotonic()
            if bastion.problem is not None:
                cause = bastion.problem
                problem = BastionProblem(
                    f"the bastion of {target.name}: {cause.brief}",
                    host=target.name,
                    details=cause.details,
                    cause=cause.cause,
                    remedy=cause.remedy,
                )
                raise problem from cause
        assert bastion.connection is not None
        transport: paramiko.Transport = bastion.connection.transport
        return transport

    def _handshake(self, target: Target, sock: Any, login: dict[str, Any], until: float) -> fabric.Connection:
        left = max(until - time.monotonic(), 0.1)
        limits = {"banner_timeout": left, "auth_timeout": left, "channel_timeout": left}
        connection = fabric.Connection(
            target.address,
            user=target.user,
            port=target.port,
            # Fabric is given an empty ssh_config: it would let HostName, User and Port there win over cluster.yaml,
            # and reads files once a connection. What we take from ~/.ssh/config is taken in `_configured`.
            # One for each connection: invoke's Config answers wrongly while another thread makes it merge.
            config=fabric.Config(ssh_config=paramiko.SSHConfig(), lazy=True),
            forward_agent=False,
            connect_timeout=ceil(left),
            connect_kwargs={**login, **limits, "sock": sock},
        )
        client = connection.client
        # Fabric has put AutoAddPolicy there, which takes any key of any host.
        client.set_missing_host_key_policy(_Judge(target))
        pinned = () if target.host_key else self._known.get(target.key_name, ())
        for key in pinned:
            entry = HostKeyEntry.from_line(f"{target.key_name} {key.kind} {key.blob}")
            if entry is not None and entry.key is not None:
                client.get_host_keys().add(target.key_name, key.kind, entry.key)
        # Each step of paramiko has its own timeout; this one holds for them together.
        late = threading.Event()
        watchdog = threading.Timer(left, _give_up, (late, sock))
        watchdog.daemon = True
        watchdog.start()
        try:
            connection.open()
        except Exception as error:
            close_quietly(connection)
            if late.is_set():
                raise timed_out(target, "the SSH handshake did not end") from error
            judge_failure(target, error)
        finally:
            watchdog.cancel()
        connection.transport.set_keepalive(15)
        return connection

    def _configured(self, target: Target) -> tuple[Target, tuple[Path, ...]]:
        """What ~/.ssh/config adds where cluster.yaml is silent: ProxyJump, IdentityFile, IdentitiesOnly."""
        if self._ssh_config is None:
            return target, ()
        found = self._ssh_config.lookup(target.address)
        if target.name != target.address:
            # `Host master-1` counts too; the name is ours, so its HostName does not.
            named = self._ssh_config.lookup(target.name)
            for option in ("identityfile", "identitiesonly", "proxyjump"):
                if option in named and option not in found:
                    found[option] = named[option]
        keys = tuple(Path(p).expanduser() for p in found.get("identityfile", ()))
        if found.get("identitiesonly") == "yes" and keys:
            target = replace(target, agent=False)
        jump = found.get("proxyjump", "none")
        if target.bastion is None and target.name != "bastion" and jump != "none":
            target = replace(target, bastion=self._jump(target, jump.split(",")))
        return target, keys

    def _jump(self, target: Target, hops: list[str]) -> Target:
        user, _, place = hops[-1].rpartition("@")
        host, _, port = place.partition(":")
        found: Mapping[str, str] = self._ssh_config.lookup(host) if self._ssh_config else {}
        return Target(
            name="bastion",
            address=found.get("hostname", host),
            port=int(port or found.get("port", "22")),
            user=user or found.get("user", target.user),
            agent=target.agent,
            sudo="root",
            bastion=self._jump(target, hops[:-1]) if len(hops) > 1 else None,
            connect_timeout=target.connect_timeout,
        )


def _give_up(late: threading.Event, sock: Any) -> None:
    late.set()
    with contextlib.suppress(Exception):
        sock.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(Exception):
        sock.close()


def close_quietly(connection: fabric.Connection) -> None:
    """Nothing that is closed late or twice is anybody's concern."""
    agent = getattr(connection.client, "_agent", None)
    with contextlib.suppress(Exception):
        connection.client.close()
    # paramiko leaves its socket to the agent open when the transport is gone already, or ends with an error.
    if agent is not None:
        with contextlib.suppress(Exception):
            agent.close()


def _read_ssh_config(path: Path | None) -> paramiko.SSHConfig | None:
    if path is None or not path.is_file():
        return None
    try:
        return paramiko.SSHConfig.from_path(str(path))
    except Exception:  # a person's file with options that paramiko does not read is no reason to stop
        logging.getLogger(__name__).warning("%s cannot be read and is not used", path)
        return None
