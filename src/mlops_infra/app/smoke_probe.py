"""Questions that the operator's machine puts itself."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlops_infra.app.smoke_checks import Probe

__all__ = ["HERE", "ask", "can_reach", "families_at", "fetch", "prediction_at"]

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


def ask(id: str, question: Callable[[], str | None], patience: float) -> Probe:
    """What the question gives is the probe's text. It is put again and again until it is well or the time is over:
    rules and routes take a moment to be everywhere."""
    begun = time.monotonic()
    while True:
        try:
            said = question() or ""
            return Probe(id, HERE, ok=True, seconds=time.monotonic() - begun, text=said)
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


def prediction_at(address: str, port: int, host: str, asked: Mapping[str, Any]) -> Callable[[], str]:
    """A question: what does the ML service foretell? The body of its answer."""

    def question() -> str:
        return _http((address, port), "POST", "/predict", host, json.dumps(asked))

    return question


def families_at(address: str, port: int, host: str, names: Sequence[str]) -> Callable[[], str]:
    """A question: which of these metrics does the ML service tell? Those that it does."""

    def question() -> str:
        text = _http((address, port), "GET", "/metrics", host)
        return " ".join(name for name in names if f"# TYPE {name} " in text)

    return question


def _http(where: tuple[str, int], method: str, path: str, host: str, body: str | None = None) -> str:
    link = http.client.HTTPConnection(*where, timeout=_EACH)
    try:
        link.request(method, path, body, {"Host": host, "Content-Type": "application/json"})
        reply = link.getresponse()
        text = reply.read().decode("utf-8", "replace")
        if reply.status != http.client.OK:
            raise _NotOurs(f"{reply.status} {reply.reason}: {text[:80]}")
        return text
    finally:
        link.close()
