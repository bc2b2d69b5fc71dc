"""Release files: pinned, fetched once, refused when they differ."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from mlops_infra.errors import ConfigError
from mlops_infra.render.catalogue import ARTIFACTS, Artifact, ArtifactError, artifact, fetch

CONTENT = b"kind: ConfigMap\n"


@dataclass(frozen=True)
class Mirror:
    files: str | None


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A mirror with one file."""
    where = tmp_path / "site" / "thing" / "v1.2.3"
    where.mkdir(parents=True)
    (where / "thing.yaml").write_bytes(CONTENT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site"))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def thing(sha256: str = hashlib.sha256(CONTENT).hexdigest(), url: str = "http://127.0.0.1:1/nowhere") -> Artifact:
    return Artifact("thing", "1.2.3", url, sha256, "thing/v1.2.3/thing.yaml")


def test_every_pinned_artifact_names_its_version_and_lies_below_it_on_a_mirror() -> None:
    for item in ARTIFACTS:
        assert re.fullmatch(r"[0-9a-f]{64}", item.sha256)
        assert item.url.startswith("https://")
        # The ingress controller's manifest serves a whole minor; its patches are images.
        named = item.version if item.name != "ingress_nginx" else item.version.rpartition(".")[0]
        assert f"v{named}" in item.url
        assert item.mirror_path.startswith(f"{item.name.replace(chr(95), chr(45))}/v{named}")


def test_a_version_that_is_not_pinned_is_a_mistake_in_the_file_and_the_pinned_ones_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        artifact("flannel", "9.9.9")
    assert "0.26.7" in caught.value.cause


def test_a_mirror_is_asked_instead_of_upstream(site: str, tmp_path: Path) -> None:
    assert fetch(thing(), Mirror(site), tmp_path / "cache") == CONTENT


def test_what_was_fetched_once_is_not_fetched_again(site: str, tmp_path: Path) -> None:
    fetch(thing(), Mirror(site), tmp_path / "cache")
    assert fetch(thing(), Mirror("http://127.0.0.1:1"), tmp_path / "cache") == CONTENT


def test_without_a_mirror_the_public_address_is_asked(site: str, tmp_path: Path) -> None:
    item = thing(url=f"{site}/thing/v1.2.3/thing.yaml")
    assert fetch(item, None, tmp_path / "cache") == CONTENT
    assert fetch(item, Mirror(None), tmp_path / "other") == CONTENT


def test_a_file_that_differs_is_refused_and_never_kept(site: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not the pinned one") as caught:
        fetch(thing("0" * 64), Mirror(site), tmp_path / "cache")
    assert hashlib.sha256(CONTENT).hexdigest() in caught.value.details
    assert not (tmp_path / "cache").exists()


def test_a_spoilt_cache_is_not_trusted(site: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fetch(thing(), Mirror(site), cache)
    (cache / thing().sha256).write_bytes(b"something else")
    assert fetch(thing(), Mirror(site), cache) == CONTENT
    assert (cache / thing().sha256).read_bytes() == CONTENT


@pytest.mark.parametrize("base", ["http://127.0.0.1:1", "nonsense://x"])
def test_an_unreachable_mirror_is_said_with_the_address_and_the_remedy(base: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        fetch(thing(), Mirror(base), tmp_path / "cache")
    assert f"{base}/thing/v1.2.3/thing.yaml" in caught.value.details
    assert "mirrors.files" in caught.value.remedy


def test_a_mirror_without_the_file_answers_with_its_code(site: str, tmp_path: Path) -> None:
    item = Artifact("thing", "2", "https://example.invalid/v2", "0" * 64, "thing/v2/thing.yaml")
    with pytest.raises(ArtifactError) as caught:
        fetch(item, Mirror(site), tmp_path / "cache")
    assert "404" in caught.value.details
