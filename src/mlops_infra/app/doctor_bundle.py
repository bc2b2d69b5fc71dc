"""`doctor bundle`: what those who help need to see, in one archive without secrets; whatever still answers."""

from __future__ import annotations

import io
import os
import platform as python_platform
import re
import secrets as randomness
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mlops_infra import __version__
from mlops_infra.app.context import SiteContext
from mlops_infra.app.secrets import resolve
from mlops_infra.core import Secret
from mlops_infra.doctor.collect import api_script, host_script, sections
from mlops_infra.doctor.scrub import Scrubber
from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.secret import SecretSource
from mlops_infra.transport import Target, Transport

__all__ = [
    "Bounds",
    "Collected",
    "archive",
    "asked_once",
    "collect",
    "default_path",
    "in_background",
    "known_secrets",
    "local_files",
]

_RUNS, _RUN_FILE = 3, 200_000
_MIB = 1 << 20
_HOST_MOST = 6 * _MIB
_LONG = 15
_OF_FILES = re.compile(r"(?m)(?:^(?=AGE-SECRET)|(?:client-key-data|token|password): *\"?)([^\s\"]+)")
"""Secrets of age's key files and of kubeconfigs."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """`seconds` for everything that is asked of hosts; `size`: bytes of text in all; `minutes` of the journal."""

    seconds: float = 60.0
    size: int = 50 * _MIB
    minutes: int = 120


@dataclass(slots=True)
class Collected:
    """Path in the archive → text, scrubbed. `missing`: who or what is not in it, and why. `cut`: what is not whole."""

    cluster: str
    at: datetime
    files: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def size(self) -> int:
        return sum(len(text) for text in self.files.values())


def default_path(cluster: Cluster, at: datetime) -> Path:
    return Path(f"{cluster.name}-support-{at:%Y%m%dT%H%M%SZ}.tar.gz")


def collect(
    context: SiteContext, transport: Transport, targets: Mapping[str, Target], bounds: Bounds, scrub: Scrubber
) -> Collected:
    """Asks all hosts at once and the API through one master. Never raises for what does not answer; changes nothing."""
    begun = time.monotonic()
    found = Collected(context.cluster.name, datetime.now(UTC))
    share = min(_HOST_MOST, bounds.size // max(1, len(targets) + 1))
    asking = _Asking(
        context.cluster, transport, targets, bounds, share, f"@@{randomness.token_hex(12)}", begun + bounds.seconds
    )
    said = _hosts(asking)
    for name in targets:
        answer = said.get(name, f"nothing came within {bounds.seconds:.0f} s")
        _put(found, f"hosts/{name}", answer, asking.mark, scrub)
    _put(found, "cluster", _api(asking), asking.mark, scrub)
    found.seconds = time.monotonic() - begun
    return found


@dataclass(frozen=True, slots=True)
class _Asking:
    """What stays the same while hosts are asked. `share`: bytes of one answer. `ends`: of time.monotonic()."""

    cluster: Cluster
    transport: Transport
    targets: Mapping[str, Target]
    bounds: Bounds
    share: int
    mark: str
    ends: float

    @property
    def left(self) -> float:
        return self.ends - time.monotonic()


Answer = bytes | str
"""What a script said, or why it said nothing."""


def _put(found: Collected, place: str, answer: Answer, mark: str, scrub: Scrubber) -> None:
    if isinstance(answer, str):
        found.missing[place] = scrub(answer)
        return
    parts, whole = sections(answer.decode("utf-8", "replace"), mark)
    for name, text in parts.items():
        found.files[f"{place}/{_safe(name)}.txt"] = scrub(text)
    if not parts:
        found.missing[place] = "it answered with nothing"
    elif not whole:
        found.cut.append(place)


def _safe(name: str) -> str:
    """A host names its sections: what it says must not lead out of its directory."""
    parts = [re.sub(r"[^A-Za-z0-9._-]", "-", part)[:150] for part in name.split("/")]
    return "/".join(part for part in parts if part.strip(".")) or "unnamed"


def _hosts(asking: _Asking) -> Mapping[str, Answer]:
    said: dict[str, Answer] = {}
    targets, bounds = asking.targets.values(), asking.bounds

    def one(target: Target) -> None:
        host = asking.cluster.host_named(target.name)
        script = host_script(asking.cluster, host, asking.mark, minutes=bounds.minutes, limit=asking.share)
        # A third of the time is left for the API, and for what arrives late.
        said[target.name] = _exchange(asking, target, script, max(3.0, asking.left * 2 / 3))

    threads = [threading.Thread(target=one, args=(t,), daemon=True, name=f"bundle-{t.name}") for t in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        # Daemons: one that hangs is left behind, and told.
        thread.join(max(0.0, asking.left - bounds.seconds / 4))
    return dict(said)


def _exchange(asking: _Asking, target: Target, script: str, deadline: float) -> Answer:
    """What came until the time or the room was used up: the beginning of an answer is better than none."""
    pieces: list[bytes] = []

    def keep(piece: bytes) -> None:
        if sum(map(len, pieces)) < asking.share:
            pieces.append(piece)

    try:
        reply = asking.transport.connect(target).exchange("sh -s", script.encode(), deadline=deadline, sink=keep)
    except InfraError as error:
        return b"".join(pieces) or error.brief
    if not pieces and reply.rc:
        return f"the script ended with {reply.rc}"
    return b"".join(pieces)


def _api(asking: _Asking) -> Answer:
    """Of the first master whose own API server is ready."""
    for host in (m for m in asking.cluster.hosts.masters if m.name in asking.targets):
        if asking.left < 1:
            return "there was no time left"
        script = api_script(host, asking.mark, limit=asking.share)
        answer = _exchange(asking, asking.targets[host.name], script, min(asking.left, 30.0))
        if isinstance(answer, bytes) and answer:
            return answer
    return "no API server is ready"


# ---- what this machine knows -------------------------------------------------------------------------------------


def known_secrets(context: SiteContext) -> tuple[str, ...]:
    """The texts of all secrets of this platform that this machine has: they are masked wherever they appear."""
    found: list[str] = []
    for number, source in enumerate(_sources(context.cluster)):
        if not source.generate:
            try:
                found.append(resolve(source, f"secret-{number}", context.site).reveal())
            except InfraError:
                continue  # what is not here cannot get into the bundle from here
    for path in _inside(context.site.secrets):
        if path.is_file():
            text = path.read_text("utf-8", "replace")
            found += [text.strip(), *(line for line in text.splitlines() if len(line) > _LONG)]
    for path in (*context.site.directory.glob("backup-key*"), context.site.kubeconfig):
        if path.is_file():
            found += [word for word in _OF_FILES.findall(path.read_text("utf-8", "replace")) if len(word) > _LONG]
    return tuple(found)


def _sources(value: Any) -> Iterator[SecretSource]:
    if isinstance(value, SecretSource):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _sources(getattr(value, name))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _sources(one)
    elif isinstance(value, tuple | list | set | frozenset):
        for one in value:
            yield from _sources(one)


def _inside(directory: Path) -> Iterable[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else ()


def local_files(context: SiteContext, scrub: Scrubber) -> dict[str, str]:
    """cluster.yaml, versions, and the records of the last runs."""
    found = {
        "local/cluster.yaml.txt": context.site.config.read_text("utf-8", "replace"),
        "local/versions.txt": f"mlops-infra {__version__}\nPython {python_platform.python_version()}\n"
        f"{python_platform.platform()}\n",
    }
    runs = [path for path in _inside(context.site.runs) if path.is_dir()][-_RUNS:]
    for run in runs:
        for path in _inside(run):
            if path.is_file() and path.suffix in (".jsonl", ".log", ".json"):
                found[f"local/runs/{_safe(run.name)}/{_safe(path.name)}.txt"] = _end_of(path)
    return {name: scrub(text) for name, text in found.items()}


def _end_of(path: Path) -> str:
    with path.open("rb") as source:
        size = source.seek(0, os.SEEK_END)
        source.seek(max(0, size - _RUN_FILE))
        text = source.read().decode("utf-8", "replace")
    # A line that was cut may have lost the word that tells a secret.
    return text if size <= _RUN_FILE else text.partition("\n")[2]


def archive(path: Path, found: Collected, pages: Mapping[str, str]) -> int:
    """Writes the files and `pages` below one directory, 0600; its size. Raises InfraError where it cannot."""
    name = path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    staged = path.with_name(f".{path.name}.{randomness.token_hex(4)}")
    try:
        with (
            os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
            tarfile.open(fileobj=out, mode="w:gz") as tar,
        ):
            for place, text in {**pages, **found.files}.items():
                content = text.encode("utf-8", "replace")
                entry = tarfile.TarInfo(f"{name}/{place}")
                entry.size, entry.mode, entry.mtime = len(content), 0o600, int(found.at.timestamp())
                tar.addfile(entry, io.BytesIO(content))
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise InfraError(
            f"{path} cannot be written: {error.strerror}", remedy="Name another place: --out FILE."
        ) from error
    return path.stat().st_size


def asked_once(ask: Callable[[], Secret]) -> Callable[[], Secret]:
    """The same answer for whoever asks, from any thread."""
    door, known = threading.Lock(), list[Secret]()

    def once() -> Secret:
        with door:
            if not known:
                known.append(ask())
            return known[0]

    return once


def in_background(work: Callable[[], Any]) -> Callable[[float], Any]:
    """Starts `work`; the answer waits at most so many seconds for its value and is None where there is none in time."""
    done: list[Any] = []

    def run() -> None:
        try:
            done.append(work())
        except InfraError as error:
            done.append(error)

    thread = threading.Thread(target=run, daemon=True, name="bundle-doctor")
    thread.start()

    def wait(seconds: float) -> Any:
        thread.join(max(0.0, seconds))
        return done[0] if done else None

    return wait
