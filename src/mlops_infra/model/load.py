"""Reads cluster.yaml into the model, and says all that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlops_infra.model.checks import check
from mlops_infra.model.clear_text import secret_places
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.explain import explain
from mlops_infra.model.finding import Finding
from mlops_infra.model.problem import ConfigProblems, Mark, Problem
from mlops_infra.model.secret import MASK
from mlops_infra.model.suggest import suggest_key
from mlops_infra.model.tree import Keys, Place, Tree, parse_tree, read_tree, spell

__all__ = ["Check", "Loaded", "load_cluster", "load_text"]

Check = Callable[[Cluster], Iterable[Finding]]

ROUNDS = 6
"""How often wrong parts are taken out to see what else is wrong; each round reaches one level of nesting deeper."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid cluster and where it came from.

    `document` is the file as plain values, the overlay merged in, without defaults; `warnings` are worth showing, and
    no reason to stop.
    """

    cluster: Cluster
    document: dict[str, Any]
    path: Path
    warnings: tuple[Problem, ...] = ()
    overlay: Path | None = None
    tree: Tree | None = field(default=None, repr=False, compare=False)

    def mark(self, *keys: str | int) -> Mark:
        """The place of a value in its file: `mark("hosts", "masters", 0)`; for later messages."""
        return self.tree.place(keys).value if self.tree else Mark(self.path)


def load_cluster(
    path: Path, overlay: Path | None = None, *, today: date | None = None, also: Check | None = None
) -> Loaded:
    """Reads the file, merges the overlay over it (mappings deeply, lists replaced; no hosts), validates the result.

    `today` decides what is past its end of life; `also` is a check of what only higher layers know. Raises
    ConfigProblems with everything that is wrong.
    """
    tree = _document(read_tree(path))
    if overlay is not None:
        tree = merge_trees(tree, _document(read_tree(overlay)))
    return _loaded(tree, overlay, today, also)


def load_text(text: str, path: Path, *, today: date | None = None, also: Check | None = None) -> Loaded:
    """Like `load_cluster` for a text that is to become the file at `path`."""
    return _loaded(_document(parse_tree(text, path)), None, today, also)


def _loaded(tree: Tree, overlay: Path | None, today: date | None, also: Check | None) -> Loaded:
    path = tree.path
    problems = list(tree.problems)
    cluster, reported = _validate(tree, problems)
    warnings: list[Problem] = []
    if cluster is not None:
        findings = [*check(cluster, tree.data, today=today or date.today()), *(also(cluster) if also else ())]
        for finding in findings:
            if not is_within(finding.keys, reported):
                (warnings if finding.warning else problems).append(_placed(finding, tree))
    problems = [_without_secrets(p, tree) for p in problems]
    problems.sort(key=lambda p: (p.mark.file != path, p.mark.line, p.mark.column))
    warnings.sort(key=lambda p: (p.mark.file != path, p.mark.line, p.mark.column))
    if problems or cluster is None:
        raise ConfigProblems(problems, warnings=warnings, path=path)
    return Loaded(cluster, tree.data, path, tuple(warnings), overlay, tree)


def _document(tree: Tree) -> Tree:
    if tree.data is None:
        tree.data = {}
    if not isinstance(tree.data, dict):
        mark = tree.place(()).value
        message = "must be a mapping of keys such as `name:`, `ssh:` and `hosts:`"
        raise ConfigProblems([Problem(mark, message, mark.text.strip())], path=tree.path)
    return tree


def _without_secrets(problem: Problem, tree: Tree) -> Problem:
    """Secrets in clear text blotted out, also where another mistake of the same line is shown."""
    ways = tuple(secret_places(tree.data))
    places = [tree.places[k] for way in ways for k in (way, (*way, "value")) if k in tree.places]
    for place in places:
        raw = place.raw
        if raw and place.value.file == problem.mark.file and place.value.line == problem.mark.line:
            # As long as the secret, so that the caret stays below its place.
            text = problem.mark.text.replace(raw, "*" * len(raw))
            problem = replace(problem, mark=replace(problem.mark, text=text))
        if problem.path in (spell(way) for way in ways) or problem.path.endswith(".value"):
            offending = "" if raw and raw in problem.offending else problem.offending
            message, hint = (t.replace(raw, MASK) if raw else t for t in (problem.message, problem.hint))
            problem = replace(problem, message=message, hint=hint, offending=offending)
    return problem


def merge_trees(base: Tree, over: Tree) -> Tree:
    """The base with the overlay's values in place of its own; every place names the file that it came from."""
    result = Tree(base.path, base.data, dict(base.places), base.problems + over.problems)
    if "hosts" in over.data:
        place = over.place(("hosts",))
        message = "an overlay cannot change the hosts: it describes the same platform"
        result.problems.append(Problem(place.key, message, "hosts", "hosts"))
    result.data = _merge(base.data, {k: v for k, v in over.data.items() if k != "hosts"}, (), result, over)
    return result


def _merge(base: dict[str, Any], over: dict[str, Any], keys: Keys, result: Tree, source: Tree) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        here = (*keys, name)
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            result.places[here] = source.place(here)
            merged[name] = _merge(base[name], value, here, result, source)
            continue
        for stale in [k for k in result.places if k[: len(here)] == here]:
            del result.places[stale]
        result.places.update({k: p for k, p in source.places.items() if k[: len(here)] == here})
        merged[name] = value
    return merged


def _placed(finding: Finding, tree: Tree) -> Problem:
    place: Place = tree.place(finding.keys)
    there = finding.keys in tree.places
    mark = place.value if there and not finding.at_key else place.key
    offending = place.raw if there else ""
    if not there and place == tree.place(()):
        # About a default: there is no line to show.
        mark = Mark(tree.path)
    if finding.secret:
        mark, offending = replace(mark, text=""), ""
    return Problem(mark, finding.message, offending, spell(finding.keys), finding.hint)


def _validate(tree: Tree, problems: list[Problem]) -> tuple[Cluster | None, set[Keys]]:
    """The cluster, or what can be made of it with stand-ins for its wrong parts, so that the rest is checked as well.

    The second value says which places have been complained about.
    """
    data: Any = tree.data
    reported: set[Keys] = set()
    for _ in range(ROUNDS):
        try:
            return Cluster.model_validate(data), reported
        except ValidationError as error:
            errors = error.errors(include_url=False)
        wrong = _told_apart({tuple(k for k in item["loc"] if k != "[key]"): item for item in errors})
        for keys, item in wrong.items():
            # What is missing only because it was wrong and taken out has been reported already.
            if not is_within(keys, reported) and not _is_misspelt(keys, item, wrong):
                problems.append(explain(item, keys, tree))
        reported.update(wrong)
        # From the back, so that what is taken out of a list does not move what is still to be taken out.
        for keys in sorted(wrong, key=lambda k: [(isinstance(x, str), x) for x in k], reverse=True):
            data = _mended(data, keys, missing=wrong[keys]["type"] == "missing")
            if data is None:
                return None, reported
    return None, reported


def _told_apart(wrong: dict[Keys, Any]) -> dict[Keys, Any]:
    """Without the lists that are too short only because pydantic does not count their wrong items."""
    return {
        keys: item
        for keys, item in wrong.items()
        if item["type"] != "too_short" or not any(k != keys and k[: len(keys)] == keys for k in wrong)
    }


def _is_misspelt(keys: Keys, item: Any, wrong: dict[Keys, Any]) -> bool:
    """Whether something is missing because its key is misspelt: the unknown key says so already."""
    meant = f"did you mean `{keys[-1] if keys else ''}`?"
    return item["type"] == "missing" and any(
        other["type"] == "extra_forbidden" and k[:-1] == keys[:-1] and suggest_key(k) == meant
        for k, other in wrong.items()
    )


def is_within(keys: Keys, places: set[Keys]) -> bool:
    """Whether a place is one of these or below one of them."""
    return any(keys[:length] in places for length in range(len(keys) + 1))


def _mended(data: Any, keys: Keys, *, missing: bool) -> Any:
    """A copy with a stand-in at `keys`, or without what is there; None where nothing sensible is left."""
    stand_in = _stand_in(keys)
    if stand_in is not None:
        return _replaced(data, keys, stand_in)
    if not missing:
        return _replaced(data, keys, None)
    # Something required is missing: the part of a list that wants it goes; outside of lists there is no way on.
    index = max((i for i, key in enumerate(keys) if isinstance(key, int)), default=None)
    return None if index is None else _replaced(data, keys[: index + 1], None)


def _stand_in(keys: Keys) -> Any:
    """A value for what no cluster can do without; unique, so that no check compares it with anything."""
    match keys:
        case ("name",):
            return "unnamed"
        case ("ssh",):
            return {"user": "unnamed"}
        case ("ssh", "user"):
            return "unnamed"
        case ("hosts", str(role), int(index)):
            return {"name": _stand_in((*keys, "name")), "address": _stand_in((*keys, "address"))}
        case ("hosts", str(role), int(index), "name"):
            return f"unnamed-{role}-{index}"
        case ("hosts", str(role), int(index), "address"):
            return f"240.{len(role)}.{index // 256}.{index % 256}"
    return None


def _replaced(data: Any, keys: Keys, value: Any) -> Any:
    """A copy with the value at `keys`; None takes out what is there."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(data, dict) and isinstance(key, str):
        copy = {**data, key: _replaced(data.get(key), rest, value)}
        return copy if rest or value is not None else {k: v for k, v in copy.items() if k != key}
    if isinstance(data, list) and isinstance(key, int) and key < len(data):
        new = _replaced(data[key], rest, value)
        return [*data[:key], *([new] if rest or value is not None else []), *data[key + 1 :]]
    # What stands there cannot hold the key at all.
    return _replaced({} if isinstance(key, str) else [], keys, value) if isinstance(key, str) else data
