"""Objects as files: stripped of what the server adds, complete, encrypted, and back again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backup_site import CA, open_demo

from mlops_infra.app.backup_bundle import BundleError
from mlops_infra.app.backup_key import identities, key_path
from mlops_infra.app.backup_objects import Kept, Reference, parse_dump, path_of, stripped
from mlops_infra.app.backup_resources import APPLY_COMMAND, Wanted, differences, put_back, read_objects, save
from mlops_infra.app.context import SiteContext
from mlops_infra.errors import InfraError, UnreachableError, UsageError
from mlops_infra.operations.etcd_snapshot import LOOK_COMMAND
from mlops_infra.testing import FakeTransport
from mlops_infra.transport.errors import TimedOut
from mlops_infra.transport.session import Reply

SERVER = {"uid": "1-2", "resourceVersion": "77", "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}]}


def meta(name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, **({"namespace": namespace} if namespace else {}), **SERVER, **more}


LISTS: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("v1", "Namespace"): [
        {"metadata": meta("shop", labels={"kubernetes.io/metadata.name": "shop"}),
         "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}},
    ],
    ("v1", "ConfigMap"): [
        {"metadata": meta("prices", "shop"), "data": {"apple": "1"}},
        {"metadata": meta("kube-root-ca.crt", "shop"), "data": {"ca.crt": "x"}},
    ],
    ("v1", "Secret"): [{"metadata": meta("door", "shop"), "data": {"key": "aHVzaA=="}}],
    ("v1", "Event"): [{"metadata": meta("e.1", "shop"), "reason": "x"}],
    ("apps/v1", "ReplicaSet"): [
        {"metadata": meta("web-1", "shop", ownerReferences=[{"kind": "Deployment", "uid": "9", "controller": True}])},
    ],
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): [{"metadata": meta("system:node"), "rules": []}],
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): [
        {"metadata": meta("models.ml.test"), "spec": {"group": "ml.test"}},
    ],
}  # fmt: skip


def dump(lists: dict[tuple[str, str], list[dict[str, Any]]] = LISTS, *extra: str) -> str:
    lines = [f"# {CA}"]
    for (version, kind), items in lists.items():
        lines += [f"@ {version} {kind} true {kind.lower()}s", json.dumps({"kind": f"{kind}List", "items": items})]
    return "\n".join([*lines, *extra, "end"]) + "\n"


class Api:
    """Masters whose API holds `lists`; what is created or replaced is remembered, and done where `obeys`."""

    def __init__(self) -> None:
        self.lists = json.loads(json.dumps([[*k, v] for k, v in LISTS.items()]))
        self.written: list[tuple[str, list[str]]] = []
        self.obeys = True
        self.unreachable: dict[str, TimedOut] = {}
        self.extra: tuple[str, ...] = ()

    def items(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = next(items for _, k, items in self.lists if k == kind)
        return found

    def transport(self) -> FakeTransport:
        return FakeTransport({n: self._answer() for n in ("m1", "m2", "m3")}, unreachable=self.unreachable)  # type: ignore[arg-type]

    def _answer(self) -> Callable[[str, bytes], Reply]:
        def answer(command: str, stdin: bytes) -> Reply:
            if command == LOOK_COMMAND:
                text = dump({(v, k): items for v, k, items in self.lists}, *self.extra)
                return Reply(0, gzip.compress(text.encode()), "")
            assert command == APPLY_COMMAND
            head, *documents = stdin.decode().splitlines()
            found = [json.loads(d) for d in documents]
            self.written.append((head.split()[1], [d["metadata"]["name"] for d in found]))
            for one in found if self.obeys else ():
                items = self.items(one["kind"])
                items[:] = [i for i in items if i["metadata"]["name"] != one["metadata"]["name"]] + [one]
            return Reply(0 if self.obeys else 1, b"", "" if self.obeys else "Error from server (Invalid): no")

        return answer


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def context(tmp_path: Path) -> SiteContext:
    return open_demo(tmp_path)


def saved(context: SiteContext, api: Api) -> tuple[Kept, ...]:
    done = save(context, api.transport())
    return read_objects(done.path, identities([key_path(context.site)]), context)


def test_every_kind_is_kept_but_what_lives_minutes(context: SiteContext, api: Api) -> None:
    names = {str(one.reference) for one in saved(context, api)}
    assert names == {
        "Namespace/shop", "shop/ConfigMap/prices", "shop/ConfigMap/kube-root-ca.crt", "shop/Secret/door",
        "shop/ReplicaSet.apps/web-1", "ClusterRole.rbac.authorization.k8s.io/system:node",
        "CustomResourceDefinition.apiextensions.k8s.io/models.ml.test",
    }  # fmt: skip


def test_what_the_server_adds_is_gone_and_what_controllers_make_lies_apart(context: SiteContext, api: Api) -> None:
    found = {str(one.reference): one for one in saved(context, api)}
    assert found["Namespace/shop"].content == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    assert found["shop/ConfigMap/prices"].content["metadata"] == {"name": "prices", "namespace": "shop"}
    assert {name for name, one in found.items() if one.derived} == {
        "shop/ReplicaSet.apps/web-1", "shop/ConfigMap/kube-root-ca.crt",
    }  # fmt: skip


def test_the_file_is_encrypted_and_the_tree_holds_no_secret(context: SiteContext, api: Api, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    done = save(context, api.transport(), tree=tree)
    assert done.path.name.endswith(".objects.age")
    assert b"prices" not in done.path.read_bytes()
    files = sorted(str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file())
    assert files == [
        "derived/2-namespaces/shop/ConfigMap/kube-root-ca.crt.yaml",
        "derived/2-namespaces/shop/ReplicaSet.apps/web-1.yaml",
        "objects/0-types/models.ml.test.yaml",
        "objects/1-cluster/0-Namespace/shop.yaml",
        "objects/1-cluster/ClusterRole.rbac.authorization.k8s.io/system:node.yaml",
        "objects/2-namespaces/shop/ConfigMap/prices.yaml",
    ]
    assert not any(b"aHVzaA" in p.read_bytes() for p in tree.rglob("*") if p.is_file())
    with pytest.raises(UsageError, match="is not empty"):
        save(context, api.transport(), tree=tree)


def test_kinds_that_could_not_be_listed_are_named(context: SiteContext, api: Api) -> None:
    api.extra = ("! pods metrics.k8s.io/v1beta1",)
    assert save(context, api.transport()).failed == ("pods metrics.k8s.io/v1beta1",)


def test_a_cut_list_is_no_list() -> None:
    with pytest.raises(InfraError, match="is cut"):
        parse_dump(dump().removesuffix("end\n"))


def test_the_next_master_is_asked_when_one_does_not_answer(context: SiteContext, api: Api) -> None:
    api.unreachable = {"m1": TimedOut("no")}
    assert save(context, api.transport()).objects == 5
    api.unreachable = {m: TimedOut("no") for m in ("m1", "m2", "m3")}
    with pytest.raises(UnreachableError, match="no API server"):
        save(context, api.transport())


def test_one_object_a_namespace_or_all_is_chosen(context: SiteContext, api: Api) -> None:
    found = saved(context, api)

    def chosen(wanted: Wanted) -> set[str]:
        return {one.reference.name for one in found if wanted.takes(one)}

    assert chosen(Wanted()) == {"shop", "prices", "door", "system:node", "models.ml.test"}
    assert chosen(Wanted(namespaces=frozenset({"shop"}))) == {"shop", "prices", "door"}
    assert chosen(Wanted(objects=frozenset({"shop/ConfigMap/prices"}))) == {"prices"}
    assert chosen(Wanted(objects=frozenset({"shop/ReplicaSet/web-1"}))) == {"web-1"}, "even a derived one, by its name"


def test_what_is_missing_is_created_what_differs_replaced_and_the_rest_left_alone(
    context: SiteContext, api: Api
) -> None:
    kept = [one for one in saved(context, api) if Wanted().takes(one)]
    api.items("Secret").clear()
    api.items("ConfigMap")[0]["data"]["apple"] = "2"
    api.items("ConfigMap").append({"metadata": meta("new", "shop")})
    transport = api.transport()
    now = parse_dump(dump({(v, k): items for v, k, items in api.lists})).objects
    found = differences(kept, now)
    assert {(d.kept.reference.name, d.missing) for d in found} == {("prices", False), ("door", True)}
    lines = next(d.lines for d in found if d.kept.reference.name == "prices")
    assert '-  apple: "2"' in lines and '+  apple: "1"' in lines
    assert put_back(context, transport, found, lambda text: None) == ()
    assert api.written == [("create", ["door"]), ("replace", ["prices"])]
    assert any(i["metadata"]["name"] == "new" for i in api.items("ConfigMap"))


def test_a_secrets_value_is_never_in_a_diff(context: SiteContext, api: Api) -> None:
    kept = saved(context, api)
    api.items("Secret")[0]["data"]["key"] = "b3RoZXJ3aXNl"
    now = parse_dump(dump({(v, k): items for v, k, items in api.lists})).objects
    (found,) = differences(kept, now)
    assert found.kept.reference.name == "door"
    assert "aHVzaA" not in "".join(found.lines) and "b3Rozx" not in "".join(found.lines)


def test_what_the_api_refuses_is_told(context: SiteContext, api: Api) -> None:
    kept = saved(context, api)
    api.items("Secret").clear()
    now = parse_dump(dump({(v, k): items for v, k, items in api.lists})).objects
    api.obeys = False
    with pytest.raises(InfraError, match="nothing could be put back") as refused:
        put_back(context, api.transport(), differences(kept, now), lambda text: None)
    assert "Invalid" in refused.value.details


def test_a_file_of_another_cluster_is_refused(context: SiteContext, api: Api, tmp_path: Path) -> None:
    done = save(context, api.transport())
    (tmp_path / "other").mkdir()
    other = open_demo(tmp_path / "other")
    other.site.config.write_text(other.site.config.read_text().replace("name: demo", "name: else", 1))
    from mlops_infra.app.context import open_site

    with pytest.raises(BundleError, match="of another cluster: demo"):
        read_objects(done.path, identities([key_path(context.site)]), open_site(other.site.config))


def test_parts_that_only_hold_for_one_life_of_an_object_are_stripped() -> None:
    job = stripped({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": meta("j", "a", labels={"controller-uid": "1", "app": "x"}),
        "spec": {"selector": {"matchLabels": {"controller-uid": "1"}},
                 "template": {"metadata": {"labels": {"controller-uid": "1", "job-name": "j", "app": "x"}}}},
    })  # fmt: skip
    assert "selector" not in job["spec"]
    assert job["spec"]["template"]["metadata"]["labels"] == {"app": "x"}
    pod = stripped({
        "apiVersion": "v1", "kind": "Pod", "metadata": meta("p", "a"),
        "spec": {"nodeName": "w1", "volumes": [{"name": "kube-api-access-x", "projected": {}}],
                 "containers": [{"name": "c", "volumeMounts": [{"name": "kube-api-access-x", "mountPath": "/t"}]}]},
    })  # fmt: skip
    assert pod["spec"] == {"containers": [{"name": "c"}]}
    volume = stripped({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta("v"),
        "spec": {"claimRef": {"name": "c", "namespace": "a", "uid": "1", "resourceVersion": "5"}},
    })  # fmt: skip
    assert volume["spec"]["claimRef"] == {"name": "c", "namespace": "a"}


def test_types_come_before_the_cluster_and_that_before_namespaces_in_the_tree() -> None:
    def at(kind: str, namespace: str = "", group: str = "") -> str:
        return path_of(Kept(Reference(namespace, group, kind, "x"), {}))

    order = [
        at("CustomResourceDefinition"),
        at("Namespace"),
        at("APIService"),
        at("StorageClass"),
        at("ConfigMap", "a"),
    ]
    assert order == sorted(order)
