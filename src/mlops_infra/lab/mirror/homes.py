"""The public homes of artifacts, and downloads from them: bounded, checked, gone on with by digest."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from mlops_infra.lab.mirror.progress import MirrorError

__all__ = ["Homes", "HttpAnswer", "NotFoundError"]

PATIENCE = 60.0
"""Seconds without a byte after which a download is given up."""
_NOTHING: Mapping[str, str] = MappingProxyType({})


class NotFoundError(MirrorError):
    """The home answers, and has no such thing."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Homes:
    """Where upstream is. `instead` maps the beginning of a public URL to another, for a proxy or a copy of it:
    `{"https://pkgs.k8s.io": "http://proxy.example/k8s"}`."""

    instead: Mapping[str, str] = field(default_factory=dict)

    def url(self, public: str) -> str:
        """The address to ask for what the public URL names; of several that fit the longest beginning counts."""
        for start in sorted(self.instead, key=len, reverse=True):
            rest = public.removeprefix(start)
            if public.startswith(start) and (not rest or rest[0] in "/?" or start.endswith("/")):
                return self.instead[start].rstrip("/") + ("/" if start.endswith("/") else "") + rest
        return public

    def get(self, public: str, headers: Mapping[str, str] = _NOTHING) -> HttpAnswer:
        """One small document. An answer of 401 or 404 is an answer; raises MirrorError when none comes."""
        try:
            with urllib.request.urlopen(self._request(public, headers), timeout=PATIENCE) as reply:  # noqa: S310
                return HttpAnswer(reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read())
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (401, 404):
                    return HttpAnswer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())
                raise _failed(self.url(public), f"{error.code} {error.reason}") from error
        except (OSError, ValueError) as error:
            raise _failed(self.url(public), str(getattr(error, "reason", error))) from error

    def document(self, public: str) -> bytes:
        """As `get`, but anything except the document is an error."""
        answer = self.get(public)
        if answer.status != 200:
            raise NotFoundError(f"{self.url(public)} answered {answer.status}", cause="no such version upstream")
        return answer.body

    def download(self, public: str, sha256: str, target: Path, headers: Mapping[str, str] = _NOTHING) -> None:
        """The file whose digest is known, at `target`; nothing is fetched when it is there already.

        A file that differs never gets its name."""
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}.part")
        digest = hashlib.sha256()
        try:
            request = self._request(public, headers)
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply, staged.open("wb") as out:  # noqa: S310
                while block := reply.read(1 << 20):
                    digest.update(block)
                    out.write(block)
        except urllib.error.HTTPError as error:
            with error:
                raise _failed(self.url(public), f"{error.code} {error.reason}") from error
        except (OSError, ValueError) as error:
            raise _failed(self.url(public), str(getattr(error, "reason", error))) from error
        if digest.hexdigest() != sha256:
            staged.unlink()
            raise MirrorError(
                f"{public.rpartition('/')[2]} is not what its index promises",
                details=f"url      {self.url(public)}\nexpected {sha256}\nfound    {digest.hexdigest()}",
                cause="cut short, or changed on its way",
                remedy="run again; if it happens again, do not use this home",
            )
        staged.replace(target)

    def _request(self, public: str, headers: Mapping[str, str]) -> urllib.request.Request:
        url = self.url(public)
        if not url.startswith(("http://", "https://")):
            raise MirrorError(f"{url} is not an http(s) URL")
        request = urllib.request.Request(url, headers={"User-Agent": "mlops-infra"})  # noqa: S310
        for name, value in headers.items():
            # Not sent on after a redirect: a registry's token is not for the store that its blobs lie in.
            if name.lower() == "authorization":
                request.add_unredirected_header(name, value)
            else:
                request.add_header(name, value)
        return request


def _failed(url: str, why: str) -> MirrorError:
    return MirrorError(
        f"could not fetch {url}",
        details=why,
        cause="no way out of this network, or the home has moved",
        remedy="mlops-infra mirror build --from source needs no public repository; --home replaces one of them",
    )
