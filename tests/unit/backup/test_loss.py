"""What a restore would take away, by name."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from mlops_infra.app.backup_loss import compare

REVISION = 100


def packed(*kvs: tuple[str, int, int], now: int = 400) -> bytes:
    """etcdctl's answer: key, the revision that made it, that of its last change."""
    said = [{"key": base64.b64encode(k.encode()).decode(), "create_revision": c, "mod_revision": m} for k, c, m in kvs]
    return gzip.compress(json.dumps({"header": {"revision": now}, "kvs": said}).encode())


def test_what_came_changed_and_went_since_the_snapshot_is_named() -> None:
    listed = b"/registry/configmaps/a/kept\n/registry/configmaps/a/edited\n/registry/secrets/b/gone\n"
    loss = compare(
        packed(
            ("/registry/configmaps/a/kept", 5, 100),
            ("/registry/configmaps/a/edited", 5, 101),
            ("/registry/deployments/a/new", 130, 140),
        ),
        REVISION,
        listed,
    )
    assert loss.created == ("deployments/a/new",)
    assert loss.changed == ("configmaps/a/edited",)
    assert loss.deleted == ("secrets/b/gone",)
    assert not loss.is_nothing


def test_names_are_the_apis_where_etcds_paths_have_others() -> None:
    made = ("minions/w1", "services/specs/a/web", "services/endpoints/a/web", "ingress/a/web", "ingressclasses/nginx")
    loss = compare(packed(*((f"/registry/{name}", 130, 130) for name in made)), REVISION, b"")
    assert loss.created == ("endpoints/a/web", "ingressclasses/nginx", "ingresses/a/web", "nodes/w1", "services/a/web")


def test_events_leases_and_keys_of_others_are_no_loss() -> None:
    loss = compare(
        packed(
            ("/registry/events/a/x.17", 200, 200), ("/registry/leases/kube-node-lease/w1", 5, 300),
            ("/registry/masterleases/10.0.0.1", 5, 300), ("compact_rev_key", 5, 300),
        ),
        REVISION,
        b"/registry/events/a/old\ncompact_rev_key\n",
    )  # fmt: skip
    assert loss.is_nothing


def test_one_made_again_under_its_name_counts_as_made() -> None:
    loss = compare(packed(("/registry/pods/a/p", 150, 150)), REVISION, b"/registry/pods/a/p\n")
    assert (loss.created, loss.deleted) == (("pods/a/p",), ())


def test_without_the_bundles_list_nobody_knows_what_would_be_back() -> None:
    assert compare(packed(), REVISION, None).back_known is False


def test_an_answer_that_is_cut_is_no_answer() -> None:
    with pytest.raises((ValueError, EOFError, OSError)):
        compare(packed(("/registry/pods/a/p", 1, 1))[:-12], REVISION, None)


def test_an_etcd_that_began_anew_says_nothing_of_what_was() -> None:
    assert compare(packed(now=3), REVISION, b"/registry/pods/a/p\n").known is False
