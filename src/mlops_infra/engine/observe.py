"""Any set of probes as one POSIX sh script: one fork a kind, whatever their number.

The answer is lines of tab-separated records, `kind, number, mark, …`, between `BEGIN <nonce> <protocol>` and
`END <nonce> <count>`. Marks: `=` an answer, `-` absent, `!` unreadable. What is free text (files, output of
commands, API objects) travels in one record, base64 of frames that start and end with the nonce. `engine.parse` reads
it back; both number the probes with `numbered`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from shlex import quote
from typing import Any
from urllib.parse import quote_plus

from mlops_infra.core.probe import (
    ApiList,
    ApiObject,
    Command,
    KernelFeature,
    Package,
    Probe,
    ReadLink,
    ReadText,
    Sha256,
    Stat,
    Swaps,
    Sysctl,
    System,
    Unit,
)
from mlops_infra.engine.observe_sh import PROLOGUE, SECTIONS

__all__ = ["COMMAND_LIMIT", "OBSERVE_COMMAND", "PROTOCOL", "ApiEndpoint", "compile_observe", "numbered", "sysctl_path"]

OBSERVE_COMMAND = "sh -s"
"""Run by `Session.exchange` with the script on stdin."""

PROTOCOL = 1
COMMAND_LIMIT = 262_144
"""Bytes of a Command's stdout that are carried; more is Unknown."""

_CHUNK = 200
"""Paths given to one fork: keeps the shell's handling of its arguments and ARG_MAX out of the picture."""

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|mount|swap|target|slice|path|device|automount|scope)")
_PATTERN = re.compile(r"/[A-Za-z0-9_./*-]+")
_NAME = re.compile(r"[a-z0-9][a-z0-9:._-]*")
_WORD = re.compile(r"[A-Za-z0-9_.=!,()/ -]+")

# Features whose presence another path than /sys/module tells (domain.md 1.2).
_FEATURE_PATHS = {
    "br_netfilter": "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "nf_conntrack": "/proc/sys/net/netfilter/nf_conntrack_max",
    "ip_vs": "/proc/net/ip_vs",
}


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """Where the host being asked finds the API: its own server (`https://<node address>:6443`), with its admin.conf."""

    server: str
    kubeconfig: str = "/etc/kubernetes/admin.conf"


def numbered(probes: Iterable[Probe[Any]]) -> tuple[Probe[Any], ...]:
    """The probes once each, in the order in which script and parser number them."""
    return _numbered(frozenset(probes))


# Hosts of one role are asked the same, and each of them for its script and for its answers.
@lru_cache(maxsize=64)
def _numbered(probes: frozenset[Probe[Any]]) -> tuple[Probe[Any], ...]:
    return tuple(sorted(probes, key=lambda p: (type(p).__name__, repr(p))))


def compile_observe(probes: Iterable[Probe[Any]], nonce: str, api: ApiEndpoint | None = None) -> bytes:
    """The script, for `sh -s`. Without `api` the API probes answer Unknown.

    It is one function called at the end, so that a truncated script does nothing, and nothing it starts can read its
    text. Raises ValueError for names that no host could have (a probe is never able to inject sh).
    """
    if not re.fullmatch(r"[A-Za-z0-9]{8,}", nonce):
        raise ValueError("a nonce is eight or more letters and digits")
    return _script(numbered(probes), api).replace("@NONCE@", nonce, 1).encode()


@lru_cache(maxsize=64)
def _script(asked: tuple[Probe[Any], ...], api: ApiEndpoint | None) -> str:
    """The script with a mark for the nonce, which is in its first lines and nowhere else."""
    body = [f'held="BEGIN $N {PROTOCOL}$nl"']
    kinds = {type(p) for p in asked}
    wanted = {name for name, kind_set in _NEEDS.items() if kinds & kind_set}
    for section in _SECTION_COMPILERS:
        body.extend(section(asked))
    body.extend(_blob(asked, api))
    body.append('held="${held}END $N $n$nl"; flush')
    functions = [SECTIONS[name] for name in SECTIONS if name in wanted]
    main = "main() {\n" + "\n".join(body) + "\n}\nmain </dev/null\n"
    return "\n".join([PROLOGUE, *functions, main])


def _calls(function: str, pairs: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Calls of one sh function with quoted words, a bounded number a call."""
    found = list(pairs)
    for start in range(0, len(found), _CHUNK):
        words = " \\\n".join(" ".join(quote(word) for word in pair) for pair in found[start : start + _CHUNK])
        yield f"{function} {words}"


def _of(kind: type[Any], asked: tuple[Probe[Any], ...]) -> Iterator[tuple[str, Any]]:
    for number, probe in enumerate(asked):
        if isinstance(probe, kind):
            yield str(number), probe


def _paths(asked: tuple[Probe[Any], ...]) -> Iterator[str]:
    stats = {p.path: n for n, p in _of(Stat, asked)}
    links = {p.path: n for n, p in _of(ReadLink, asked)}
    yield from _calls("q_path", ((stats.get(p, ""), links.get(p, ""), _path(p)) for p in sorted({*stats, *links})))
    yield from _calls("q_sha", ((n, _path(p.path)) for n, p in _of(Sha256, asked)))


def _path(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"not an absolute path: {path!r}")
    return path


def _kernel(asked: tuple[Probe[Any], ...]) -> Iterator[str]:
    sysctls = list(_calls("q_sysctl", ((n, sysctl_path(p.key)) for n, p in _of(Sysctl, asked))))
    if any(_of(System, asked)):
        yield "trie=/proc/net/fib_trie"
        sysctls = sysctls or ["q_sysctl"]
    yield from sysctls
    features = ((n, _word(p.module.replace("-", "_"))) for n, p in _of(KernelFeature, asked))
    yield from _calls("q_feature", ((n, module, _FEATURE_PATHS.get(module, "")) for n, module in features))
    for number, _ in _of(Swaps, asked):
        yield f"q_swaps {number}"


def sysctl_path(key: str) -> str:
    """The file of a sysctl key; as in sysctl(8), where the first separator is a dot, a slash stands for a dot."""
    if not re.fullmatch(r"[A-Za-z0-9_./@-]+", key) or ".." in key:
        raise ValueError(f"not a sysctl key: {key!r}")
    first = next((c for c in key if c in "./"), ".")
    inner = key if first == "/" else key.translate(str.maketrans("./", "/."))
    return "/proc/sys/" + inner


def _packages_and_units(asked: tuple[Probe[Any], ...]) -> Iterator[str]:
    packages = [(_checked(_PACKAGE, p.name, "package"),) for _, p in _of(Package, asked)]
    yield from _calls("q_pkg", packages)
    units = [(_checked(_UNIT, p.name, "unit"),) for _, p in _of(Unit, asked)]
    yield from _calls("q_unit", units)


def _system(asked: tuple[Probe[Any], ...]) -> Iterator[str]:
    for number, _ in _of(System, asked):
        yield f"q_system {number}"


# _system tells what the stat of _paths and the grep of _kernel have found.
_SECTION_COMPILERS = (_paths, _kernel, _system, _packages_and_units)

_NEEDS: dict[str, set[type[Any]]] = {
    "path": {Stat, ReadLink},
    "sha": {Sha256},
    "sysctl": {Sysctl, System},
    "feature": {KernelFeature},
    "swaps": {Swaps},
    "pkg": {Package},
    "unit": {Unit},
    "system": {System},
    "text": {ReadText},
    "command": {Command},
    "api": {ApiObject, ApiList},
}


def _blob(asked: tuple[Probe[Any], ...], api: ApiEndpoint | None) -> Iterator[str]:
    """Everything that is free text: one pipeline, one base64."""
    texts = sorted(_of(ReadText, asked), key=lambda text: text[1].limit)
    inner = [
        call
        for limit, of_one in groupby(texts, key=lambda text: text[1].limit)
        for call in _calls(f"q_text {limit + 1}", ((n, _path(p.path)) for n, p in of_one))
    ]
    for number, probe in _of(Command, asked):
        if len(probe.script.encode()) > 100_000:
            raise ValueError(f"the script of command {probe.id!r} is too long for one argument")
        words = [number, str(int(probe.timeout)), str(COMMAND_LIMIT), quote(probe.script)]
        inner.append(" ".join(["q_command", *words, *(_checked(_PATTERN, f, "pattern of files") for f in probe.files)]))
    if api is not None:
        inner.extend(_api(asked, api))
    if inner:
        yield "\n".join(
            ["flush; printf 'blob\\t-\\t=\\t'", "{", *inner, "} 3>&1 | base64 -w 0", "n=$((n+1)); held=$nl"]
        )


def _api(asked: tuple[Probe[Any], ...], api: ApiEndpoint) -> Iterator[str]:
    objects = [p for _, p in _of(ApiObject, asked)]
    lists = list(_of(ApiList, asked))
    if not objects and not lists:
        return
    yield f"if q_api_ready {quote(api.server)} {quote(api.kubeconfig)}; then"
    direct = [(number, probe) for number, probe in lists if probe.api_version]
    if objects or direct:
        paths = [(n, _api_path(p)) for n, p in _of(ApiObject, asked)] + [(n, _list_path(p)) for n, p in direct]
        words = " \\\n".join(f"{number} {quote(path)}" for number, path in paths)
        yield f"if q_api_keys; then q_api_get {words}"
        yield "else"
        # A stream of JSON: with `---` between them kubectl takes them for JSON as well, and stops at the first dash.
        documents = "\n".join(json.dumps(_document(p)) for p in objects)
        yield f"q_api_objects {quote(documents)}" if objects else ":"
        yield from map(_listed, direct)
        yield "fi"
    yield from (_listed(one) for one in lists if one not in direct)
    yield "fi"


def _listed(asked: tuple[str, ApiList]) -> str:
    number, probe = asked
    selector = quote(_word(probe.selector)) if probe.selector else "''"
    return f"q_api_list {quote(_word(probe.resource))} {number} {selector}"


def _api_path(probe: ApiObject) -> str:
    """Where the API server has it. The plural is guessed as Kubernetes itself does where it has nobody to ask
    (`UnsafeGuessKindToResource` of apimachinery)."""
    kind = _word(probe.kind).lower()
    if kind.endswith("s"):
        plural = kind if kind == "endpoints" else f"{kind}es"
    else:
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    inside = f"/namespaces/{_name(probe.namespace)}" if probe.namespace else ""
    return f"{_group_path(probe.api_version)}{inside}/{plural}/{_name(probe.name)}"


def _list_path(probe: ApiList) -> str:
    selector = f"?labelSelector={quote_plus(probe.selector)}" if probe.selector else ""
    return f"{_group_path(probe.api_version)}/{_word(probe.resource)}{selector}"


def _group_path(api_version: str) -> str:
    return f"/{'apis' if '/' in api_version else 'api'}/{_word(api_version)}"


def _document(probe: ApiObject) -> dict[str, Any]:
    metadata = {"name": probe.name} | ({"namespace": probe.namespace} if probe.namespace else {})
    return {"apiVersion": probe.api_version, "kind": probe.kind, "metadata": metadata}


def _name(text: str) -> str:
    return _checked(_NAME, text, "name in the API")


def _word(text: str) -> str:
    return _checked(_WORD, text, "word")


def _checked(pattern: re.Pattern[str], text: str, noun: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"not a {noun}: {text!r}")
    return text
