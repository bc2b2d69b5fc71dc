"""The administrator's kubeconfig: taken from a master, pointed at the load balancer, kept 0600 beside cluster.yaml."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import tempfile
from pathlib import Path

from mlops_infra.core import Facts, ReadText, Sha256, https_url
from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster

__all__ = ["ADMIN_CONF", "CLUSTER_CA", "ca_digest", "is_current", "point_at", "server_url", "store"]

ADMIN_CONF = ReadText("/etc/kubernetes/admin.conf")
"""Only ever asked by what writes the kubeconfig: the answer is a credential."""
CLUSTER_CA = Sha256("/etc/kubernetes/pki/ca.crt")

_SERVER = re.compile(r"^(\s*server:\s*)\S+\s*$", re.MULTILINE)
_CA = re.compile(r"^\s*certificate-authority-data:\s*(\S+)\s*$", re.MULTILINE)


def server_url(cluster: Cluster) -> str:
    """The API as a workstation reaches it: the load balancer's address, which is in the certificate; the endpoint's
    name need not resolve there."""
    return https_url(cluster.endpoint_address, cluster.endpoint_port)


def point_at(text: str, server: str) -> str:
    """The kubeconfig with another server. Raises InfraError when it names none."""
    changed, count = _SERVER.subn(rf"\g<1>{server}", text)
    if count == 0:
        raise InfraError("The kubeconfig on the master names no server", details=ADMIN_CONF.path)
    return changed


def is_current(path: Path, server: str, facts: Facts) -> bool:
    """Whether the local file is for this cluster (its CA is the one a master has) and for this server.

    Without an answer about the CA an existing file is left alone.
    """
    try:
        text = path.read_text()
    except OSError:
        return False
    if not re.search(rf"^\s*server:\s*{re.escape(server)}\s*$", text, re.MULTILINE):
        return False
    there = facts.value(CLUSTER_CA)
    return there is None or there == ca_digest(text)


def ca_digest(text: str) -> str:
    """Hex sha256 of the CA's file as it lies on the masters; empty where the kubeconfig holds none."""
    found = _CA.search(text)
    try:
        return hashlib.sha256(base64.b64decode(found.group(1), validate=True)).hexdigest() if found else ""
    except binascii.Error:
        return ""


def store(text: str, path: Path) -> None:
    """Writes the file, 0600, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, staged = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(staged).replace(path)
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise
