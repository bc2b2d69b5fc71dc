"""What this process itself can reach: the API at its endpoint. Bounded, and side by side with the look."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from mlops_infra.model.cluster import Cluster

__all__ = ["Answered", "Target", "ask", "ask_all", "targets"]

DEADLINE = 3.0


@dataclass(frozen=True, slots=True)
class Target:
    """`host`: whose address it is, where it is one of ours."""

    what: Literal["api"]
    host: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Answered:
    """`status`: of HTTP, None where it did not come to that; `problem` says why."""

    target: Target
    status: int | None = None
    problem: str = ""
    milliseconds: float = 0.0


def targets(cluster: Cluster) -> tuple[Target, ...]:
    """The endpoint; none behind a bastion, where this machine has no way to it."""
    if cluster.ssh.bastion is not None:
        return ()
    address = cluster.endpoint_address
    host = next((h.name for h in cluster.all_hosts if h.node_address == address), "")
    return (Target("api", host, address, cluster.endpoint_port),)


def ask_all(asked: Iterable[Target]) -> tuple[Answered, ...]:
    found = tuple(asked)
    if not found:
        return ()
    with ThreadPoolExecutor(len(found), thread_name_prefix="outside") as pool:
        return tuple(pool.map(ask, found))


def ask(target: Target) -> Answered:
    """GET /readyz. Who answers is not verified: no credential is sent, and the nodes verify it themselves."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    begun = time.monotonic()
    try:
        with (
            socket.create_connection((target.address, target.port), timeout=DEADLINE) as raw,
            context.wrap_socket(raw) as channel,
        ):
            channel.settimeout(DEADLINE)
            channel.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            line = channel.recv(64).split(b"\r\n", 1)[0].split()
            status = int(line[1]) if len(line) > 1 and line[1].isdigit() else None
            problem = "" if status is not None else "no answer to HTTP"
    except TimeoutError:
        status, problem = None, f"no answer within {DEADLINE:.0f} s"
    except ssl.SSLError as error:
        status, problem = None, f"no TLS: {error.reason or error}"
    except OSError as error:
        status, problem = None, error.strerror or str(error)
    return Answered(target, status, problem, (time.monotonic() - begun) * 1000)
