"""Faults made for real, one after the other: the first finding is the cause, and its remedy, as printed, mends.

A few that are quick to mend are part of `make test`, all of `make test-full`. Where MLOPS_INFRA_FAULTS names a file, a
line of JSON is added to it for each, of which bench/faults.py makes docs/reference/faults.md.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fault_record import FaultRecord
from platform_lab import PlatformLab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

Strike = Callable[[PlatformLab], object]


@dataclass(frozen=True)
class Fault:
    """`strike` makes it; the first finding must then be `check` about `host`, within `seconds`.

    `heal`: what to do where no command mends it (a power cut); otherwise the printed remedy is run as it is.
    """

    name: str
    check: str
    host: str
    strike: Strike
    heal: Strike | None = None
    seconds: float = 90


def on(host: str, script: str) -> Strike:
    return lambda lab: lab.on(host, script)


def kubectl(words: str) -> Strike:
    return lambda lab: lab.kubectl(words)


def fail(kind: str, host: str) -> Strike:
    return lambda lab: lab("lab", "fail", kind, host)


def heal(lab: PlatformLab) -> None:
    lab("lab", "heal")


EXPIRED = """\
cd /etc/kubernetes/pki
openssl x509 -in apiserver.crt -x509toreq -copy_extensions copyall -signkey apiserver.key -out /root/old.csr
openssl x509 -req -in /root/old.csr -copy_extensions copyall -CA ca.crt -CAkey ca.key -set_serial 7 \
  -not_before 20240101000000Z -not_after 20250101000000Z -out apiserver.crt
rm /root/old.csr
"""


def wrong_host_key(lab: PlatformLab) -> None:
    """worker-1 shows another key than the pinned one: here the pinned one is worker-2's."""
    known = lab.state / "known_hosts"
    # A person reads it at the machine's own console; the lab's way in goes by the same known_hosts.
    shown = lab.on("worker-1", "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    (lab.state / "worker-1.fingerprint").write_text(shown)
    lines = [line.split() for line in known.read_text().splitlines()]
    other = {w[1]: w[2] for w in lines if w[0] == "10.110.190.26"}
    known.write_text("".join(f"{w[0]} {w[1]} {other[w[1]] if w[0] == '10.110.190.25' else w[2]}\n" for w in lines))


def trust_again(lab: PlatformLab) -> None:
    """The remedy asks for the fingerprint."""
    shown = (lab.state / "worker-1.fingerprint").read_text()
    remedy = first_finding(lab)["remedy"]
    command = remedy[remedy.index("mlops-infra") :].split("   ")[0]
    lab("--lab", "--yes", *shlex.split(command)[1:], "--fingerprint", shown)


MOVE_ETCD = "mv /etc/kubernetes/manifests/etcd.yaml /root/"
MOVE_API = "mv /etc/kubernetes/manifests/kube-apiserver.yaml /root/"
BREAK_KUBELET = "echo 'x: [' >/var/lib/kubelet/config.yaml; systemctl restart kubelet; sleep 5"
MASK_KUBELET = "systemctl mask --now kubelet"
OTHER_DRIVER = "sed -i s/SystemdCgroup.*/SystemdCgroup=false/ /etc/containerd/config.toml"
EDIT = "echo '# x' >>/usr/local/lib/mlops-infra/mlops-infra-approver"

NO_KEY = "mv /home/ubuntu/.ssh/authorized_keys /home/ubuntu/.ssh/kept"
KEY_AGAIN = "mv /home/ubuntu/.ssh/kept /home/ubuntu/.ssh/authorized_keys"
NO_SUDO = "mv /etc/sudoers.d/90-installer /root/"
SUDO_AGAIN = "mv /root/90-installer /etc/sudoers.d/"
BROKEN_UNIT = "systemd-run --unit=brittle --property=Type=oneshot /bin/false || :"
RESET = "systemctl reset-failed"
HALF_INSTALLED = "sed -i '/^Package: tzdata$/,/^$/s/^Status: .*/Status: install ok unpacked/' /var/lib/dpkg/status"
ABSENT, BUSYBOX = "docker.io/library/nowhere:1", "docker.io/library/busybox:1.36.1"


def scaled_to_0(deployment: str, namespace: str) -> Strike:
    return kubectl(f"-n {namespace} scale deployment/{deployment} --replicas=0")


def pod(name: str, image: str) -> Strike:
    return kubectl(f"run {name} --image={image} --restart=Always --command -- /bin/false")


def deleted(what: str) -> Strike:
    """Where the remedy is to look closer: what made the fault is taken away."""
    return lambda lab: lab.kubectl(f"delete {what} --now")


ADMIN = "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system"
OTHER_FLAG = (
    "sed -i 's/    - --secure-port=6443/&\\n    - --profiling=false/' /etc/kubernetes/manifests/kube-apiserver.yaml"
)
WRONG_FLAG = OTHER_FLAG.replace("=false", "=perhaps")
OTHER_PORT = '[{"op": "replace", "path": "/spec/ports/0/nodePort", "value": 31999}]'
PROXY = '{"data": {"use-proxy-protocol": "true"}}'


def remove_member(lab: PlatformLab) -> None:
    """master-2's, as somebody would who takes it for lost."""
    pki = "/etc/kubernetes/pki/etcd"
    etcdctl = (
        "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system exec etcd-master-1 -- etcdctl "
        f"--endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt --cert={pki}/healthcheck-client.crt "
        f"--key={pki}/healthcheck-client.key"
    )
    lab.on("master-1", f"{etcdctl} member remove $({etcdctl} member list | grep ' master-2,' | cut -d, -f1)")


OTHER_BACKEND = (
    "sed -i 's/server master-2 10.110.190.23:6443/server master-2 10.110.190.99:6443/' /etc/haproxy/haproxy.cfg && "
    "grep -q 190.99 /etc/haproxy/haproxy.cfg && systemctl reload haproxy"
)
LOOP = (
    f"{ADMIN} get configmap coredns -o yaml | sed 's#forward . [^ ]*#forward . 127.0.0.1#' | {ADMIN} apply -f - && "
    f"{ADMIN} rollout restart deployment/coredns"
)


def dropped(rule: str, host: str) -> dict[str, Strike]:
    """A filter's rule, and its end."""
    return {"strike": on(host, f"iptables -I {rule} -j DROP"), "heal": on(host, f"iptables -D {rule} -j DROP")}


FAULTS = (
    Fault("containerd stopped", "cri.up", "worker-1", on("worker-1", "systemctl stop containerd")),
    Fault("an etcd manifest moved away", "cp.manifest", "master-2", on("master-2", MOVE_ETCD)),
    Fault("kubelet stopped", "kubelet.up", "worker-2", on("worker-2", "systemctl stop kubelet")),
    Fault("kubelet's configuration broken", "kubelet.config", "master-3", on("master-3", BREAK_KUBELET)),
    Fault("kubelet masked", "kubelet.up", "worker-1", on("worker-1", MASK_KUBELET)),
    Fault("HAProxy stopped", "lb.haproxy", "lb-1", on("lb-1", "systemctl stop haproxy")),
    Fault("HAProxy's file broken by hand", "lb.config", "lb-1", on("lb-1", "echo nonsense >>/etc/haproxy/haproxy.cfg")),
    Fault("a master without power", "host.ssh", "master-2", fail("power", "master-2"), heal),
    Fault("a worker's cable pulled", "host.ssh", "worker-3", fail("cable", "worker-3"), heal),
    Fault("a disk full", "host.disk", "worker-2", fail("disk-full", "worker-2"), heal),
    Fault("swap in fstab", "host.swap", "worker-1", on("worker-1", "echo '/swap.img none swap sw 0 0' >>/etc/fstab")),
    Fault("a wrong sysctl", "host.sysctl", "worker-1", on("worker-1", "echo 0 >/proc/sys/net/ipv4/ip_forward")),
    Fault("a hold removed", "host.packages", "worker-1", on("worker-1", "apt-mark unhold kubelet")),
    Fault("time synchronisation stopped", "host.time", "master-1", on("master-1", "systemctl stop chrony")),
    Fault("containerd's file edited", "cri.config", "worker-2", on("worker-2", OTHER_DRIVER)),
    Fault("a certificate that has ended", "cert.expiry", "master-3", on("master-3", EXPIRED)),
    Fault("an API server's manifest moved away", "cp.manifest", "master-3", on("master-3", MOVE_API)),
    Fault("a wrong host key", "host.hostkey", "worker-1", wrong_host_key, trust_again),
    Fault("CoreDNS scaled to 0", "dns.cluster", "", kubectl("-n kube-system scale deployment/coredns --replicas=0")),
    Fault("Flannel deleted", "cni.flannel", "", kubectl("-n kube-flannel delete daemonset kube-flannel-ds")),
    Fault("kube-proxy deleted", "svc.kubeproxy", "", kubectl("-n kube-system delete daemonset kube-proxy")),
    Fault("a node cordoned", "node.cordoned", "worker-3", kubectl("cordon worker-3")),
    Fault("MetalLB's controller scaled to 0", "metallb.controller", "", scaled_to_0("controller", "metallb-system")),
    Fault("MetalLB's speakers deleted", "metallb.speaker", "", kubectl("-n metallb-system delete ds speaker")),
    Fault("no ingress controller", "ingress.up", "", scaled_to_0("ingress-nginx-controller", "ingress-nginx")),
    Fault("metrics-server scaled to 0", "metrics.server", "", scaled_to_0("metrics-server", "kube-system")),
    Fault("no provisioner", "storage.provisioner", "", scaled_to_0("local-path-provisioner", "local-path-storage")),
    Fault("a key that everybody reads", "pki.keys", "master-1", on("master-1", "chmod 644 /etc/kubernetes/pki/ca.key")),
    Fault("no key of ours accepted", "host.login", "worker-2", on("worker-2", NO_KEY), on("worker-2", KEY_AGAIN)),
    Fault("no sudo", "host.sudo", "worker-3", on("worker-3", NO_SUDO), on("worker-3", SUDO_AGAIN)),
    Fault("a host that hangs", "host.ssh", "worker-1", fail("freeze", "worker-1"), heal),
    Fault("a unit that failed", "host.units", "worker-2", on("worker-2", BROKEN_UNIT), on("worker-2", RESET)),
    Fault("an interrupted installation", "host.dpkg", "worker-1", on("worker-1", HALF_INSTALLED)),
    Fault("an image that cannot be pulled", "pods.image", "", pod("absent", ABSENT), deleted("pod absent")),
    Fault("a pod that crashes again and again", "pods.crash", "", pod("crashes", BUSYBOX), deleted("pod crashes"), 180),
    Fault("a script of ours edited", "plan.drift", "", on("master-1", EDIT)),
    Fault("the tunnel filtered", "net.vxlan", "", **dropped("INPUT -p udp --dport 8472", "worker-3")),
    Fault("a kubelet's port filtered", "net.ways", "", **dropped("INPUT -p tcp --dport 10250", "worker-1")),
    Fault("names filtered", "dns.answer", "", **dropped("OUTPUT -p udp --dport 53", "worker-2")),
    Fault("one master's flags edited", "cp.flags", "", on("master-2", OTHER_FLAG), seconds=180),
    Fault("a flag that is refused", "cp.flags", "", on("master-2", WRONG_FLAG), seconds=180),
    Fault("another node port", "ingress.nodeports", "",
          kubectl(f"-n ingress-nginx patch service ingress-nginx-controller --type json -p '{OTHER_PORT}'")),
    Fault("the PROXY protocol switched on", "ingress.proxyproto", "",
          kubectl(f"-n ingress-nginx patch configmap ingress-nginx-controller --type merge -p '{PROXY}'")),
    Fault("a budget that lets no pod go", "pdb.blocked", "",
          kubectl("-n kube-system create pdb stuck --selector=k8s-app=kube-dns --min-available=2"),
          kubectl("-n kube-system delete pdb stuck")),
    Fault("a member removed from etcd", "etcd.removed", "master-2", remove_member, seconds=180),
    Fault("a wrong backend in HAProxy", "lb.config", "lb-1", on("lb-1", OTHER_BACKEND)),
    Fault("CoreDNS in a loop", "dns.loop", "", on("master-1", LOOP), seconds=180),
    Fault("MetalLB's webhook gone", "metallb.webhook", "",
          kubectl("-n metallb-system delete service metallb-webhook-service")),
)  # fmt: skip


def examined(lab: PlatformLab) -> tuple[int, dict[str, Any]]:
    """The exit code, and the answer."""
    done = lab.run("--lab", "--json", "doctor")
    assert done.returncode in (0, 2, 3, 4), done.stderr
    return done.returncode, json.loads(done.stdout)


def first_finding(lab: PlatformLab) -> dict[str, Any]:
    _, answer = examined(lab)
    assert answer["findings"], "no finding"
    return dict(answer["findings"][0])


def is_healthy(lab: PlatformLab) -> bool:
    code, answer = examined(lab)
    return code == 0 and not answer["findings"]


def run_as_printed(lab: PlatformLab, remedy: str) -> None:
    """The command line that the doctor printed; the lab and the consent are the test's to add."""
    for command in remedy.split(" && mlops-infra "):
        words = shlex.split(command.removeprefix("mlops-infra "))
        lab("--lab", "--yes", *words, timeout=900)


def strike_and_mend(lab: PlatformLab, *faults: Fault) -> list[dict[str, Any]]:
    """Makes the faults, waits until the first findings are their causes, does what these say, one after the other as
    they are printed, and waits for health. Returns the findings."""
    record = FaultRecord([f.name for f in faults], taken_back=[f.name for f in faults if f.heal is not None])
    try:
        for fault in faults:
            fault.strike(lab)
        found = causes_told_first(lab, faults, record)
        for finding in found:
            fault = next(f for f in faults if (f.check, f.host) == (finding["check"], finding["host"]))
            if fault.heal is not None:
                fault.heal(lab)
            else:
                run_as_printed(lab, finding["remedy"])
        wait_for(lambda: is_healthy(lab), timeout=240, every=3)
        record.healthy()
    except AssertionError:
        heal(lab)
        raise
    finally:
        record.keep()
    return found


def causes_told_first(lab: PlatformLab, faults: tuple[Fault, ...], record: FaultRecord) -> list[dict[str, Any]]:
    """As many findings as there are faults, once they are about these."""
    record.struck()
    wanted = {(fault.check, fault.host) for fault in faults}
    end = time.monotonic() + max(fault.seconds for fault in faults)
    while not record.correct:
        assert time.monotonic() < end, f"{record.faults}: the first findings are {record.first}"
        begun = time.monotonic()
        _, answer = examined(lab)
        found: list[dict[str, Any]] = answer["findings"][: len(faults)]
        correct = {(f["check"], f["host"]) for f in found} == wanted
        record.looked(answer["findings"], time.monotonic() - begun, correct=correct)
    return found


def by_name(name: str) -> Fault:
    return next(f for f in FAULTS if f.name == name)


def test_a_healthy_platform_has_no_finding_and_is_asked_once_a_host(platform: PlatformLab) -> None:
    wait_for(lambda: is_healthy(platform), timeout=240, every=3)
    code, answer = examined(platform)
    assert code == 0
    assert answer["findings"] == []
    assert (answer["hosts"], answer["channels"]) == (7, 7)
    assert {a["check"] for a in answer["advice"]} >= {"version.eol", "lb.single"}


QUICK = ("containerd stopped", "HAProxy stopped", "a wrong sysctl")


@pytest.mark.parametrize("name", QUICK)
def test_the_cause_is_told_first_and_its_remedy_mends(platform: PlatformLab, name: str) -> None:
    (found,) = strike_and_mend(platform, by_name(name))
    assert found["brief"] and found["cause"]


@pytest.mark.long
@pytest.mark.parametrize(
    "fault",
    [f for f in FAULTS if f.name not in QUICK],
    ids=lambda f: f.name.replace(" ", "-"),
)
def test_every_other_fault_too(platform: PlatformLab, fault: Fault) -> None:
    strike_and_mend(platform, fault)


PAIRS = (
    ("containerd stopped", "HAProxy stopped"),
    ("kubelet stopped", "a wrong sysctl"),
    ("an etcd manifest moved away", "a disk full"),
    ("CoreDNS scaled to 0", "a node cordoned"),
    ("a master without power", "MetalLB's speakers deleted"),
    ("swap in fstab", "a certificate that has ended"),
    ("a worker's cable pulled", "another node port"),
    ("containerd stopped", "no ingress controller"),
)


@pytest.mark.long
@pytest.mark.parametrize("names", PAIRS, ids=lambda names: " and ".join(names).replace(" ", "-"))
def test_of_two_faults_at_once_both_causes_are_told_first(platform: PlatformLab, names: tuple[str, str]) -> None:
    strike_and_mend(platform, *map(by_name, names))


@pytest.mark.long
def test_it_works_with_the_api_down_and_with_a_majority_of_the_masters_gone(platform: PlatformLab) -> None:
    platform("lab", "fail", "power", "master-2", "master-3")
    try:
        code, answer = examined(platform)
        assert code == 3
        assert {(f["check"], f["host"]) for f in answer["findings"][:2]} == {
            ("host.ssh", "master-2"),
            ("host.ssh", "master-3"),
        }
        assert "etcd.quorum" in {f["check"] for f in answer["findings"][0].get("follows", [])}
    finally:
        heal(platform)
    wait_for(lambda: is_healthy(platform), timeout=300, every=3)


@pytest.mark.long
def test_logs_and_events_need_nothing_but_the_hosts(platform: PlatformLab) -> None:
    lines = platform.json("logs", "etcd", "-n", "5")["lines"]
    assert {line["host"] for line in lines} == {"master-1", "master-2", "master-3"}
    assert all(line["at"] for line in lines)
    assert platform.json("logs", "kubelet", "--limit", "worker-1", "--since", "1h")["lines"]
    events = platform.json("events")["events"]
    assert events == sorted(events, key=lambda e: e["last"], reverse=True)
