"""Images from a public registry over the distribution API, kept under the digests they have there."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_infra.lab.mirror.homes import Homes, HttpAnswer
from mlops_infra.lab.mirror.oci import Reference, RegistryStore, split_reference
from mlops_infra.lab.mirror.progress import MirrorError

__all__ = ["RegistryClient"]

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(slots=True)
class RegistryClient:
    """Pulls linux/amd64 images; a token that a registry asks for is fetched without credentials, once a repository."""

    homes: Homes
    downloads: Path
    _tokens: dict[str, str] = field(default_factory=dict)

    def mirror(self, reference: str, store: RegistryStore) -> str:
        """The image into the store, layers first, tag last. Returns the digest that its tag has upstream.

        An index is kept as it is, so that pulls by its digest work; of its images only linux/amd64 comes along.
        """
        where = split_reference(reference)
        top = self._manifest(where, where.tag)
        document = json.loads(top)
        if "manifests" in document:
            chosen = _amd64(document, reference)
            image = self._manifest(where, chosen)
            if _digest(image) != chosen:
                raise MirrorError(f"the manifest of {reference} is not the one that its index names")
            document = json.loads(image)
            self._layers(where, document, store)
            store.put_revision(where.repository, image)
        else:
            self._layers(where, document, store)
        return store.put_manifest(where, top)

    def _layers(self, where: Reference, manifest: dict[str, Any], store: RegistryStore) -> None:
        for blob in (*manifest["layers"], manifest["config"]):
            digest = str(blob["digest"])
            value = digest.removeprefix("sha256:")
            target = self.downloads / value / "blob"
            url = f"{_home(where)}/v2/{where.name}/blobs/{digest}"
            self.homes.download(url, value, target, self._authorization(where))
            store.put_blob(where.repository, digest, target)

    def _manifest(self, where: Reference, tag: str) -> bytes:
        answer = self._get(where, f"manifests/{tag}")
        if answer.status != 200:
            raise MirrorError(
                f"{where.registry} has no {where.name}:{where.tag}", details=f"it answered {answer.status}"
            )
        promised = answer.headers.get("docker-content-digest", "")
        if promised and promised != _digest(answer.body):
            raise MirrorError(f"the manifest of {where.name}:{where.tag} is not what {where.registry} promises")
        return answer.body

    def _get(self, where: Reference, path: str) -> HttpAnswer:
        url = f"{_home(where)}/v2/{where.name}/{path}"
        accept = {"Accept": ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))}
        answer = self.homes.get(url, {**accept, **self._authorization(where)})
        if answer.status == 401:
            self._tokens[where.repository] = self._token(where, answer.headers.get("www-authenticate", ""))
            answer = self.homes.get(url, {**accept, **self._authorization(where)})
        return answer

    def _authorization(self, where: Reference) -> dict[str, str]:
        token = self._tokens.get(where.repository)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _token(self, where: Reference, challenge: str) -> str:
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if not challenge.lower().startswith("bearer") or "realm" not in asked:
            raise MirrorError(f"{where.registry} asks for credentials", details=challenge)
        query = {"scope": asked.get("scope", f"repository:{where.name}:pull")}
        if "service" in asked:
            query["service"] = asked["service"]
        found = json.loads(self.homes.document(f"{asked['realm']}?{urllib.parse.urlencode(query)}"))
        return str(found.get("token") or found.get("access_token") or "")


def _home(where: Reference) -> str:
    """Where a registry's API is: Docker Hub's is not at the name that its images have."""
    return f"https://{'registry-1.docker.io' if where.registry == 'docker.io' else where.registry}"


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _amd64(index: dict[str, Any], reference: str) -> str:
    for entry in index["manifests"]:
        platform = entry.get("platform", {})
        if platform.get("os") == "linux" and platform.get("architecture") == "amd64":
            return str(entry["digest"])
    raise MirrorError(f"{reference} has no image for linux/amd64")
