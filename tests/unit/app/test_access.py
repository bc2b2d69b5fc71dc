"""Access for people: a key that stays here, a certificate for one user, and bindings that can go."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from backup_site import open_demo
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlops_infra.app.access import CLUSTER_WIDE, IN_NAMESPACES, bindings, chosen, parse_span, register_of
from mlops_infra.app.access_grant import Granted, grant, revoke
from mlops_infra.app.context import SiteContext
from mlops_infra.core import API, Phase, Step
from mlops_infra.engine.connect import Master
from mlops_infra.engine.observation import Observation
from mlops_infra.engine.run import Engine, Settings
from mlops_infra.errors import InfraError, UnreachableError, UsageError
from mlops_infra.render import parse_documents
from mlops_infra.testing import FakeTransport
from mlops_infra.testing.platform import FakePlatform, FakeWire
from mlops_infra.transport.errors import Refused
from mlops_infra.transport.session import Reply
from mlops_infra.ui.access import granted_shape, granted_text, register_shape, register_text, revoked_text
from mlops_infra.ui.console import Style

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Masters:
    """m1's API server is not ready. The others sign what they are asked to, for at most `longest`."""

    def __init__(self, longest: timedelta = timedelta(days=365)) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.longest = longest
        self.scripts: list[tuple[str, str]] = []
        self.bound: list[dict[str, Any]] = []
        self.refuses = ""
        self.instead_of_signing = ""
        self.revoked = "= gone 1\n"
        self.open: tuple[str, ...] = ()

    def transport(self) -> FakeTransport:
        return FakeTransport({n: self._answers(n) for n in ("m1", "m2", "m3")})

    def _answers(self, name: str) -> Any:
        def answer(_: str, stdin: bytes) -> Reply:
            script = stdin.decode()
            self.scripts.append((name, script))
            if "get --raw /readyz" in script and name == "m1":
                return Reply(0, b"! no-api its API server does not say ready\n", "")
            if "certificate approve" in script:
                return Reply(0, (self.instead_of_signing or self._sign(script)).encode(), "")
            if "delete clusterrolebindings" in script:
                return Reply(0, self.revoked.encode(), "")
            if self.refuses:
                return Reply(1, b"", self.refuses)
            self.bound += [json.loads(line) for line in script.splitlines() if line.startswith("{")]
            return Reply(0, b"", "")

        return answer

    def _sign(self, script: str) -> str:
        (document,) = [json.loads(line) for line in script.splitlines() if line.startswith("{")]
        assert document["spec"]["signerName"] == "kubernetes.io/kube-apiserver-client"
        asked = x509.load_pem_x509_csr(base64.b64decode(document["spec"]["request"]))
        assert asked.is_signature_valid
        life = min(timedelta(seconds=document["spec"]["expirationSeconds"]), self.longest)
        name = x509.Name([])
        made = x509.CertificateBuilder().subject_name(asked.subject).issuer_name(name).public_key(asked.public_key())
        begun = datetime.now(UTC)
        made = made.serial_number(1).not_valid_before(begun).not_valid_after(begun + life)
        pem = made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        told = "".join(f"= open {name}\n" for name in self.open)
        return f"= certificate {base64.b64encode(pem).decode()}\n{told}= ca {base64.b64encode(b'THE CA').decode()}\n"


def context_of(tmp_path: Path) -> SiteContext:
    return open_demo(tmp_path, "access: {operator_namespaces: [shop, lab]}\n")


def given(tmp_path: Path, masters: Masters, role: Any = "operator", span: str = "12h", **more: Any) -> Granted:
    return grant(context_of(tmp_path), masters.transport(), "ada", role, parse_span(span), **more)


def test_the_kubeconfig_holds_a_key_that_fits_its_certificate_and_went_nowhere(tmp_path: Path) -> None:
    masters = Masters()
    done = given(tmp_path, masters)
    assert done.path.stat().st_mode & 0o777 == 0o600
    (config,) = parse_documents(done.path.read_text())
    user = config["users"][0]["user"]
    key = base64.b64decode(user["client-key-data"])
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))
    private = serialization.load_pem_private_key(key, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.public_key() == certificate.public_key()
    assert not any("PRIVATE" in script or user["client-key-data"] in script for _, script in masters.scripts)
    assert certificate.subject.rfc4514_string() == f"CN=ada:{done.grant.id},O=mlops-infra:people"
    cluster = config["clusters"][0]["cluster"]
    assert cluster["server"] == "https://10.0.0.9:6443", "the load balancer's address"
    assert base64.b64decode(cluster["certificate-authority-data"]) == b"THE CA"
    assert config["contexts"][0]["context"]["namespace"] == "shop"


def test_a_master_that_is_not_ready_is_passed_by_and_the_binding_goes_where_it_was_signed(tmp_path: Path) -> None:
    masters = Masters()
    given(tmp_path, masters)
    assert [name for name, _ in masters.scripts] == ["m1", "m2", "m2"]


def test_an_operator_edits_in_the_named_namespaces_and_reads_everywhere(tmp_path: Path) -> None:
    masters = Masters()
    done = given(tmp_path, masters)
    said = [(b["kind"], b["metadata"].get("namespace"), b["roleRef"]["name"]) for b in masters.bound]
    assert said == [
        ("ClusterRoleBinding", None, "mlops-infra:viewer"),
        ("RoleBinding", "shop", "edit"),
        ("RoleBinding", "lab", "edit"),
    ]
    assert {s["name"] for b in masters.bound for s in b["subjects"]} == {f"ada:{done.grant.id}"}


def test_a_viewer_has_one_binding_and_two_grants_to_one_person_are_two_users(tmp_path: Path) -> None:
    masters = Masters()
    first, second = given(tmp_path, masters, "viewer"), given(tmp_path, masters, "viewer")
    assert [b["kind"] for b in masters.bound] == ["ClusterRoleBinding"] * 2
    assert first.grant.user != second.grant.user, "or revoking one and granting anew would revive it"


def test_a_binding_that_is_refused_leaves_no_kubeconfig_behind(tmp_path: Path) -> None:
    masters = Masters()
    masters.refuses = "Error from server (Forbidden)"
    with pytest.raises(InfraError, match="refused") as caught:
        given(tmp_path, masters)
    assert "Forbidden" in caught.value.details
    assert list((tmp_path / ".mlops-infra/site/access").iterdir()) == []


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    masters, taken = Masters(), tmp_path / "mine"
    taken.write_text("precious")
    with pytest.raises(InfraError, match="there already"):
        given(tmp_path, masters, out=taken)
    assert taken.read_text() == "precious"
    assert masters.scripts == []


def test_a_cluster_that_signs_for_less_is_believed_and_it_is_said(tmp_path: Path) -> None:
    done = given(tmp_path, Masters(timedelta(hours=1)), span="30d")
    assert done.shorter
    assert timedelta(minutes=59) < done.grant.expires - datetime.now(UTC) < timedelta(hours=1, minutes=1)
    assert "no longer than that" in granted_text(done, Style())


def test_who_can_become_root_on_a_node_is_said_when_access_is_given(tmp_path: Path) -> None:
    masters = Masters()
    masters.open = ("lab",)
    done = given(tmp_path, masters)
    assert done.open == ("lab",)
    assert granted_shape(done)["open"] == ["lab"]
    assert "warning: lab enforces no Pod Security level" in granted_text(done, Style())
    script = next(script for _, script in masters.scripts if "certificate approve" in script)
    for name in ("shop", "lab"):
        assert (
            f"get namespace {name} -o 'jsonpath={{.metadata.labels.pod-security\\.kubernetes\\.io/enforce}}'" in script
        )
    assert "enforces no" not in granted_text(given(tmp_path, Masters()), Style())


def test_roles_that_are_not_there_yet_are_told_with_the_command(tmp_path: Path) -> None:
    masters = Masters()
    masters.instead_of_signing = "! no-role there is no namespace shop\n"
    with pytest.raises(InfraError, match="no namespace shop") as caught:
        given(tmp_path, masters)
    assert caught.value.remedy == "mlops-infra access apply"


def test_without_a_master_nothing_is_made(tmp_path: Path) -> None:
    transport = FakeTransport(unreachable={name: Refused("no") for name in ("m1", "m2", "m3")})
    with pytest.raises(UnreachableError, match="No API server"):
        grant(context_of(tmp_path), transport, "ada", "viewer", parse_span("1h"))
    assert not (tmp_path / ".mlops-infra/site/access").exists()


@pytest.mark.parametrize("text", ["", "d", "30", "30w", "9m", "366d", "-1d", "1.5h"])
def test_spans_that_cannot_be_signed_are_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError):
        parse_span(text)


@pytest.mark.parametrize("name", ["", "a:b", "../x", "a b", "$(id)", "x" * 55, "-rf"])
def test_names_that_could_be_something_else_are_refused(tmp_path: Path, name: str) -> None:
    masters = Masters()
    with pytest.raises(UsageError):
        grant(context_of(tmp_path), masters.transport(), name, "viewer", parse_span("1h"))
    assert masters.scripts == []


# --- the register ---------------------------------------------------------------------------------------------------


def looked(tmp_path: Path, *found: dict[str, Any]) -> Observation:
    """Through the engine, from a master that serves."""
    platform = FakePlatform("m1", "m2")
    platform.serving = {"m2"}
    platform.hosts["m2"].files["/etc/kubernetes/admin.conf"] = b"a kubeconfig"
    wide = tuple(o for o in found if o["kind"] == "ClusterRoleBinding")
    platform.api = {CLUSTER_WIDE: wide, IN_NAMESPACES: tuple(o for o in found if o not in wide)}
    masters = (Master("m1", "10.0.0.1"), Master("m2", "10.0.0.2"))
    phases = (Phase("look", "Look", (Step("look", "m1"), Step("look", "m2"))),)
    settings = Settings("demo", masters, tmp_path)
    with Engine(platform, platform.targets(), phases, settings, wire=FakeWire(platform)) as engine:
        return engine.observe({API: frozenset({CLUSTER_WIDE, IN_NAMESPACES})})


def granted(tmp_path: Path, role: Any = "operator") -> list[dict[str, Any]]:
    masters = Masters()
    given(tmp_path, masters, role)
    return masters.bound


def test_the_bindings_are_the_register(tmp_path: Path) -> None:
    found = granted(tmp_path) + granted(tmp_path, "viewer")
    register = register_of(looked(tmp_path, *found), datetime.now(UTC))
    assert [(g.name, g.role, g.namespaces) for g in register.grants] == [
        ("ada", "operator", ("lab", "shop")),
        ("ada", "viewer", ()),
    ]
    shown = register_text(register, Style())
    assert "11 h" in shown or "min left" in shown
    assert "cannot be called back" in shown
    assert "takes all rights of these at once" in shown


def test_what_has_expired_is_said_and_can_be_tidied_up(tmp_path: Path) -> None:
    register = register_of(looked(tmp_path, *granted(tmp_path)), datetime.now(UTC) + timedelta(days=1))
    assert register_shape(register)["grants"][0]["expired"] is True
    assert chosen(register, (), expired=True) == register.grants
    assert chosen(register, ()) == ()


def test_an_id_means_one_grant_and_a_name_all_of_a_person(tmp_path: Path) -> None:
    register = register_of(looked(tmp_path, *granted(tmp_path), *granted(tmp_path)), datetime.now(UTC))
    first = register.grants[0]
    assert chosen(register, [first.id]) == (first,)
    assert chosen(register, [first.user]) == (first,)
    assert chosen(register, ["ada"]) == register.grants
    with pytest.raises(UsageError, match="grace"):
        chosen(register, ["grace"])


def test_a_label_of_ours_on_somebody_elses_binding_is_no_grant_and_no_fault(tmp_path: Path) -> None:
    (binding,) = granted(tmp_path, "viewer")
    binding["metadata"]["annotations"] = {"mlops-infra-access": "[]"}
    assert register_of(looked(tmp_path, binding), NOW).grants == ()


def test_an_api_that_was_not_asked_is_not_an_empty_register(tmp_path: Path) -> None:
    platform = FakePlatform("m1")
    settings = Settings("demo", (Master("m1", "10.0.0.1"),), tmp_path)
    phases = (Phase("look", "Look", (Step("look", "m1"),)),)
    with Engine(platform, platform.targets(), phases, settings, wire=FakeWire(platform)) as engine:
        seen = engine.observe({API: frozenset({CLUSTER_WIDE, IN_NAMESPACES})})
    with pytest.raises(InfraError, match="No API server could be asked"):
        register_of(seen, NOW)


# --- taking it back -------------------------------------------------------------------------------------------------


def test_revoking_takes_the_bindings_by_their_label_and_says_what_is_left(tmp_path: Path) -> None:
    masters = Masters()
    register = register_of(looked(tmp_path, *granted(tmp_path)), datetime.now(UTC))
    (one,) = register.grants
    masters.revoked = f"= gone {one.id}\n= more {one.user}\n"
    done = revoke(context_of(tmp_path), masters.transport(), register.grants, register.at)
    assert [name for name, _ in masters.scripts] == ["m1", "m2"]
    script = masters.scripts[-1][1]
    assert re.search(rf"delete clusterrolebindings -l mlops-infra-access={one.id} ", script)
    assert re.search(rf"delete rolebindings --all-namespaces -l mlops-infra-access={one.id} ", script)
    assert done.still_valid == register.grants
    assert done.more == (one.user,)
    shown = revoked_text(done, Style())
    assert "is believed until" in shown
    assert "another binding than ours" in shown
    assert "service account's token" in shown


def test_a_grant_that_has_expired_leaves_no_certificate_behind(tmp_path: Path) -> None:
    register = register_of(looked(tmp_path, *granted(tmp_path)), datetime.now(UTC) + timedelta(days=2))
    done = revoke(context_of(tmp_path), Masters().transport(), register.grants, register.at)
    assert done.still_valid == ()
    assert done.more == ()


def test_every_object_that_is_bound_names_the_same_grant(tmp_path: Path) -> None:
    (one,) = register_of(looked(tmp_path, *granted(tmp_path)), NOW).grants
    again = list(bindings(one, "v", "o"))
    assert {b["metadata"]["labels"]["mlops-infra-access"] for b in again} == {one.id}
    assert {b["metadata"]["name"] for b in again} == {f"mlops-infra:access:{one.id}"}
