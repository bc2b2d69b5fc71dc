"""Giving access and taking it back: a key made here, a certificate signed there, bindings that come and go."""

from __future__ import annotations

import base64
import getpass
import json
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote

from mlops_infra.app.access import LABEL, Grant, Role, bindings, who
from mlops_infra.app.context import SiteContext
from mlops_infra.app.kubeconfig import server_url, store
from mlops_infra.app.reach import targets
from mlops_infra.core import https_url
from mlops_infra.errors import InfraError, UnreachableError
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT
from mlops_infra.phases.access import OPERATOR, VIEWER
from mlops_infra.render import render, to_yaml
from mlops_infra.resources import ENFORCE
from mlops_infra.transport import Transport
from mlops_infra.transport.errors import explain

__all__ = ["Granted", "Revoked", "grant", "revoke"]

GROUP = "mlops-infra:people"
"""What all our certificates say of their owner besides the name. Nothing is bound to it."""
COMMAND = "exec sh -s"
_SECONDS = 90.0
_BACKDATED = timedelta(minutes=6)
"""The signer lets a certificate begin five minutes ago, for clocks that are behind; a long one ends as much sooner."""
_OTHER_MASTER = ("no-api",)


@dataclass(frozen=True, slots=True)
class Granted:
    grant: Grant
    path: Path
    server: str
    shorter: bool
    """The cluster signed for less than was asked."""
    open: tuple[str, ...] = ()
    """Namespaces in which the operator can start a pod that is root on its node: they enforce no Pod Security level."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """`still_valid`: their certificates are believed until their end, and give no rights any more. `more`: of those
    users, the ones that something else than our bindings gives rights."""

    gone: tuple[Grant, ...]
    still_valid: tuple[Grant, ...]
    more: tuple[str, ...]


def grant(
    context: SiteContext, transport: Transport, name: str, role: Role, span: timedelta, *, out: Path | None = None
) -> Granted:
    """A kubeconfig for a person: the key is made here and lies nowhere but in that file (0600).

    Raises UsageError for a name that cannot be, InfraError where the cluster does not sign or the file is there.
    """
    cluster, id, now = context.cluster, secrets.token_hex(4), datetime.now(UTC)
    path = out or context.site.directory / "access" / f"{who(name)}-{role}-{id}.kubeconfig"
    if out is not None and out.exists():
        raise InfraError(f"{out} is there already", remedy="Name a file that does not exist yet.")
    namespaces = cluster.access.operator_namespaces if role == "operator" else ()
    wanted = Grant(id, who(name), role, now + span, now, f"{getpass.getuser()}@{socket.gethostname()}", namespaces)
    key, request = _key_and_request(wanted.user)
    said: list[tuple[str, str]] = []
    master, signed = _on_a_master(
        context, transport, lambda server: _sign_script(wanted, server, request, span), collect=said
    )
    certificate, ca = base64.b64decode(signed["certificate"]), base64.b64decode(signed["ca"])
    made = Grant(id, wanted.name, role, _end_of(certificate), now, wanted.issued_by, namespaces)
    # Nothing binds a certificate until its file lies here: what is lost on the way is worth nothing to a finder.
    store(_kubeconfig(cluster, made, key, certificate, ca), path)
    try:
        documents = "\n".join(json.dumps(one) for one in bindings(made, VIEWER, OPERATOR))
        _say(
            context, transport, master, render("access/bind.sh.j2", server=_server(context, master), document=documents)
        )
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    shorter = made.expires < wanted.expires - _BACKDATED
    return Granted(made, path, server_url(cluster), shorter, open=tuple(word for kind, word in said if kind == "open"))


def revoke(context: SiteContext, transport: Transport, grants: Sequence[Grant], now: datetime) -> Revoked:
    """Takes the rights away at once; asks the API whether any are left. Raises InfraError."""
    pairs = [(quote(g.id), quote(g.user)) for g in grants]
    said: list[tuple[str, str]] = []
    _on_a_master(
        context,
        transport,
        lambda server: render("access/revoke.sh.j2", server=server, label=LABEL, granted=pairs),
        collect=said,
    )
    more = tuple(word for kind, word in said if kind == "more")
    return Revoked(tuple(grants), tuple(g for g in grants if not g.has_ended(now)), more)


# --- the certificate --------------------------------------------------------------------------------------------------


def _key_and_request(user: str) -> tuple[bytes, bytes]:
    """An ECDSA key (P-256) and a certificate request, PEM."""
    from cryptography import x509  # noqa: PLC0415 - a shared library that few commands need
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, GROUP), x509.NameAttribute(NameOID.COMMON_NAME, user)]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, request.public_bytes(serialization.Encoding.PEM)


def _end_of(certificate: bytes) -> datetime:
    from cryptography import x509  # noqa: PLC0415

    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def _sign_script(grant: Grant, server: str, request: bytes, span: timedelta) -> str:
    document = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": f"mlops-infra-access-{grant.id}"},
        "spec": {
            "request": base64.b64encode(request).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "expirationSeconds": int(span.total_seconds()),
            "usages": ["client auth"],
        },
    }
    return render(
        "access/sign.sh.j2",
        server=server,
        role=VIEWER,
        namespaces=grant.namespaces,
        request=f"mlops-infra-access-{grant.id}",
        enforce=ENFORCE.replace(".", "\\."),
        document=json.dumps(document),
    )


def _kubeconfig(cluster: Cluster, grant: Grant, key: bytes, certificate: bytes, ca: bytes) -> str:
    context = f"{grant.name}@{cluster.name}"
    user = {"client-certificate-data": _in_base64(certificate), "client-key-data": _in_base64(key)}
    place: dict[str, str] = {"namespace": grant.namespaces[0]} if grant.namespaces else {}
    until = f"{grant.expires:%Y-%m-%d %H:%M} UTC"
    about = f"# {grant.role} for {grant.name} until {until}; taken back by: mlops-infra access revoke {grant.id}\n"
    return about + to_yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": cluster.name,
                    "cluster": {"server": server_url(cluster), "certificate-authority-data": _in_base64(ca)},
                }
            ],
            "users": [{"name": grant.user, "user": user}],
            "contexts": [{"name": context, "context": {"cluster": cluster.name, "user": grant.user, **place}}],
            "current-context": context,
        }
    )


def _in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


# --- a master that answers --------------------------------------------------------------------------------------------


def _on_a_master(
    context: SiteContext,
    transport: Transport,
    script: Callable[[str], str],
    *,
    collect: list[tuple[str, str]] | None = None,
) -> tuple[str, Mapping[str, str]]:
    """Runs it where an API server is ready: the master's name, and its `= KEY VALUE` lines (all of them in `collect`).

    Raises UnreachableError where none is, InfraError for what the script says that went wrong.
    """
    told: list[str] = []
    for host in context.cluster.hosts.masters:
        try:
            said = _say(context, transport, host.name, script(_server(context, host.name)))
        except InfraError as error:
            if not isinstance(error, UnreachableError) and error.exit_code != UnreachableError.exit_code:
                raise
            told.append(f"{host.name}: {error.brief}")
            continue
        kind, _, text = next((ln[2:] for ln in said.splitlines() if ln.startswith("! ")), "").partition(" ")
        if not kind:
            words = [ln[2:].partition(" ") for ln in said.splitlines() if ln.startswith("= ")]
            if collect is not None:
                collect += [(key, value) for key, _, value in words]
            return host.name, {key: value for key, _, value in words}
        if kind not in _OTHER_MASTER:
            raise _refused(kind, text, host.name)
        told.append(f"{host.name}: {text}")
    raise UnreachableError("No API server is ready", details="\n".join(told), remedy="mlops-infra status")


def _refused(kind: str, text: str, host: str) -> InfraError:
    if kind == "no-role":
        return InfraError(
            f"access cannot be given yet: {text}",
            host=host,
            cause="The roles are part of the platform, and this one has not got them yet.",
            remedy="mlops-infra access apply",
        )
    return InfraError(
        "the cluster has not signed the certificate",
        host=host,
        details=text,
        cause="The controller manager signs them: it may be down, or start without its CA's key.",
        remedy="mlops-infra logs controller-manager",
    )


def _say(context: SiteContext, transport: Transport, host: str, script: str) -> str:
    session = transport.connect(targets(context.cluster, context.site.config.parent)[host])
    try:
        reply = session.exchange(COMMAND, script.encode(), deadline=_SECONDS)
    finally:
        session.close()
    if reply.rc != 0:
        raise explain(reply, host) or InfraError(
            "the cluster refused", host=host, details=reply.stderr.strip()[-600:], remedy="mlops-infra status"
        )
    return reply.stdout.decode("utf-8", "replace")


def _server(context: SiteContext, host: str) -> str:
    return https_url(context.cluster.host_named(host).node_address, MASTER_PORT)
