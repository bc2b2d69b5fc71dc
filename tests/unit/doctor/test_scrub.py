"""No secret of any kind passes; what helps a reader does."""

from __future__ import annotations

import json
import time
from base64 import b64encode

import pytest

from mlops_infra.app.doctor import diagnosis_shape
from mlops_infra.core import MASK
from mlops_infra.doctor.check import Finding, Severity
from mlops_infra.doctor.diagnosis import Diagnosed, Diagnosis
from mlops_infra.doctor.scrub import Scrubber

PEM = """-----BEGIN RSA PRIVATE KEY-----
MIIEpAIBAAKCAQEA7bq8sVx0n1planted
QmFzZTY0TGluZU9mQUtleQplanted==
-----END RSA PRIVATE KEY-----"""
SECRET = "planted0secret1value2"
B64 = b64encode(SECRET.encode()).decode()
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6In.eyJpc3MiOiJrdWJlcm5ldGVzL3Nl.plantedsignature-_AAA"

PLANTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "a private key": (f"x\n{PEM}\ny", ("planted",)),
    "a private key in a journal": (
        "\n".join(f"Nov 23 12:00:00 m1 app[1]: {line}" for line in PEM.splitlines()),
        ("planted",),
    ),
    "a private key in JSON": (json.dumps({"key": PEM}), ("planted",)),
    "a private key without its beginning": ("\n".join(PEM.splitlines()[1:]), ("planted",)),
    "a private key without its end": ("\n".join(PEM.splitlines()[:-1]), ("planted",)),
    "an SSH key": (PEM.replace("RSA PRIVATE", "OPENSSH PRIVATE"), ("planted",)),
    "a kubeconfig": (
        f"users:\n- user:\n    client-key-data: {b64encode(PEM.encode()).decode()}\n    token: {SECRET}\n",
        (b64encode(PEM.encode()).decode()[:60], SECRET),
    ),
    "a bearer token": (f"curl -H 'Authorization: Bearer {SECRET}' https://x", (SECRET,)),
    "a bearer without a header": (f"got bearer {SECRET} from the client", (SECRET,)),
    "basic authentication": (f"Authorization: Basic {B64}", (B64,)),
    "a JSON web token": (f"token is {JWT} .", ("plantedsignature", "eyJpc3Mi")),
    "an age key": (
        "# public key: age1xyz\nAGE-SECRET-KEY-1PLANTEDQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
        ("PLANTED",),
    ),
    "HAProxy's statistics": (f"    stats auth admin:{SECRET}\n", (SECRET,)),
    "HAProxy's users": (f"  user ada insecure-password {SECRET}\n user bob password $5$ab\n", (SECRET, "$5$ab")),
    "keepalived": (f"    auth_pass {SECRET}\n", (SECRET,)),
    "a Secret in YAML": (
        f"kind: Secret\nmetadata:\n  name: kept\ndata:\n  odd: {B64}\n  more: |\n    {SECRET}\ntype: Opaque\n",
        (B64, SECRET),
    ),
    "a list of Secrets in YAML": (
        f"items:\n- apiVersion: v1\n  data:\n    odd: {B64}\n  kind: Secret\n  stringData: {{x: {SECRET}}}\n",
        (B64, SECRET),
    ),
    "a Secret in JSON": (json.dumps({"kind": "Secret", "data": {"odd": B64}, "type": "Opaque"}), (B64,)),
    "a Secret in an annotation": (
        json.dumps({"last-applied": json.dumps({"kind": "Secret", "stringData": {"odd": '{"a":"' + SECRET + '"}'}})}),
        (SECRET,),
    ),
    "a word in a log": (f"login with password {SECRET}, which is wrong", (SECRET,)),
    "a bootstrap token": ("kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef", ("0123456789abcdef",)),
    "a certificate key": (f"--certificate-key {'ab12' * 16}", ("ab12ab12",)),
    "a certificate key by itself": (f"uploaded, using key: {'ab12' * 16}", ("ab12ab12",)),
    "the environment of a pod": (f"    - name: DB_PASSWORD\n      value: {SECRET}\n", (SECRET,)),
    "the environment in JSON": (json.dumps({"env": [{"name": "API_KEY", "value": SECRET}]}), (SECRET,)),
    "a URL": (f"postgres://ada:{SECRET}@db/x and https://{SECRET}@git/x", (SECRET,)),
    "a word with blanks": (f'password: "two {SECRET}"', (SECRET,)),
    "a word in a block": (f"smtp_password: |\n    {SECRET}\n    more {SECRET}\nhost: x\n", (SECRET,)),
    "a word below its name": (f"sudo_password:\n  value: {SECRET}\nname: x\n", (SECRET,)),
    "a word in braces": (f"sudo_password: {{value: {SECRET}}}\n", (SECRET,)),
    "camel case": (f"adminPassword: {SECRET}", (SECRET,)),
    "a registry's login": (json.dumps({"auths": {"r": {"auth": B64}}}), (B64,)),
    "TOML": (f'  password = "{SECRET}"\n  identitytoken = \'{SECRET}\'\n', (SECRET,)),
    "a flag": (f"app --db-password {SECRET} --listen :80", (SECRET,)),
    "a hash of a password": ("root:$6$rounds=5000$saltplanted$hashplanted:19000:0", ("planted",)),
    "keys of a cloud": (f"AKIAPLANTEDPLANTED00 aws_secret_access_key = {SECRET}", ("PLANTEDPLANTED", SECRET)),
    "a hook of Slack": ("https://hooks.slack.com/services/T000/B000/plantedplanted", ("planted",)),
    "an encryption key of the API": (f"  - aescbc:\n      keys:\n      - name: key1\n        secret: {B64}\n", (B64,)),
}  # fmt: skip


@pytest.mark.parametrize("kind", PLANTED)
def test_no_secret_of_this_kind_passes(kind: str) -> None:
    text, planted = PLANTED[kind]
    assert all(one in text or one in text.replace("\\n", "\n") for one in planted), "the test plants what it looks for"
    clean = Scrubber()(text)
    assert not [one for one in planted if one in clean], clean


def test_what_is_known_goes_wherever_it_stands_and_in_base64_too() -> None:
    clean = Scrubber([f"{SECRET}\n", "abc"])(f"a {SECRET}b {b64encode(SECRET.encode()).decode()} abc")
    assert clean == f"a {MASK}b {MASK.rstrip()}{'=' * (-len(B64.rstrip('=')) % 4)} abc"


def test_what_helps_a_reader_stays() -> None:
    kept = """\
Nov 23 12:00:00 m1 kubelet[912]: E1123 "Failed to pull image" image="registry.k8s.io/pause:3.10" err="not found"
    - --tls-private-key-file=/etc/kubernetes/pki/apiserver.key
    - --authorization-mode=Node,RBAC
    - --anonymous-auth=true
pod "container 3f00000000000000000000000000000000000000000000000000000000000003" is gone
image: nginx@sha256:4c0fdaa8b6341bfdeca5f18f7837462c80cff90527ee35ef185571e1c327beac
    server api m1 10.0.0.1:6443 check
the password is wrong, a token expired, secret kube-system/x not found
certificate /etc/kubernetes/pki/apiserver.crt ends at 2027-01-01
kind: ConfigMap
data:
  key: value
secretName: web-tls
sudo_password:
  file: secrets/sudo
other:
  value: kept
"""
    assert Scrubber()(kept) == kept


def test_documents_stay_readable() -> None:
    text = json.dumps({"kind": "Secret", "metadata": {"name": "kept"}, "data": {"a": B64}, "password": "x y", "n": 1})
    clean = Scrubber()(text).replace(f"{{{MASK}}}", "{}")
    assert json.loads(clean) == {"kind": "Secret", "metadata": {"name": "kept"}, "data": {}, "password": MASK, "n": 1}


@pytest.mark.parametrize(
    "text",
    ["a" * 2000 + "\n", "token-" * 300 + "\n", "=" * 2000 + "\n", "QmFz" * 500 + "\n", '{"data": {' * 100 + "\n"],
)
def test_long_lines_cost_little(text: str) -> None:
    begun = time.monotonic()
    Scrubber()(f"kind: Secret\n{text * 100}")
    assert time.monotonic() - begun < 5, "200 kB of the worst lines; seconds on a busy machine, not minutes"


def test_a_findings_evidence_is_scrubbed_before_its_lines_become_one() -> None:
    quoted = f"kind: Secret\ndata:\n  odd: {SECRET}\n"
    finding = Finding("a pod says it all", quoted)
    cause = Diagnosed("pods.crash", Severity.ERROR, "", finding, (Diagnosed("x", Severity.WARNING, "m1", finding),))
    diagnosis = Diagnosis((cause,), advice=(cause,))
    assert SECRET in Scrubber()(json.dumps(diagnosis_shape(diagnosis)))
    assert SECRET not in json.dumps(diagnosis_shape(diagnosis.scrubbed(Scrubber())))
