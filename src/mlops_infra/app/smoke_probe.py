"""Questions that the operator's machine puts itself."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable

from mlops_infra.app.smoke_checks import Probe

__all__ = ["HERE", "ask", "can_reach", "fetch"]

HERE = "this machine"
_PAUSE = 0.25
_EACH = 3.0


class _NotOurs(Exception):  # noqa: N818 - what it says
    pass


def can_reach(address: str, port: int, timeout: float = 1.5) -> bool:
    try:
        with socket.create_connection((address, port), timeout):
            return True
    except OSError:
        return False


def ask(id: str, question: Callable[[], None], patience: float) -> Probe:
    """Again and again until it is well or the time is over: rules and routes take a moment to be everywhere."""
    begun = time.monotonic()
    while True:
        try:
            question()
            return Probe(id, HERE, ok=True, seconds=time.monotonic() - begun)
        except (OSError, http.client.HTTPException, _NotOurs) as error:
            text = str(error) or type(error).__name__
        if time.monotonic() - begun > patience:
            return Probe(id, HERE, ok=False, seconds=time.monotonic() - begun, text=text)
        time.sleep(_PAUSE)


def fetch(address: str, port: int, host: str, path: str, token: str, *, tls: bool = False) -> Callable[[], None]:
    """A question: does the smoke test's own pod answer there? Certificates are the site's matter, and not judged."""

    def question() -> None:
        raw = socket.create_connection((address, port), _EACH)
        with raw:
            plain = raw
            if tls:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                plain = context.wrap_socket(raw, server_hostname=host)
            with plain:
                plain.settimeout(_EACH)
                plain.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                body = bytearray()
                while piece := plain.recv(65536):
                    body += piece
        if f"{token}.smoke".encode() not in body:
            first = bytes(body).partition(b"\r")[0].decode("ascii", "replace")[:80]
            raise _NotOurs(f"somebody else answered: {first}" if first else "connected, and no answer")

    return question
