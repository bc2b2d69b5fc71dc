"""Any set of probes as one POSIX sh script: one fork a kind, whatever their number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlops_infra.core.probe import Probe

__all__ = ["OBSERVE_COMMAND", "ApiEndpoint", "compile_observe"]

OBSERVE_COMMAND = "sh -s"
"""Run by `Session.exchange` with the script on stdin."""


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """Where the host being asked finds the API: its own server (`https://<node address>:6443`), with its admin.conf."""

    server: str
    kubeconfig: str = "/etc/kubernetes/admin.conf"


def compile_observe(probes: Iterable[Probe[Any]], nonce: str, api: ApiEndpoint | None = None) -> bytes:
    """The script. Without `api` the API probes answer Unknown."""
    raise NotImplementedError
