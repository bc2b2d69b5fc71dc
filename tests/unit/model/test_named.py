"""Files and variables that cluster.yaml names: all are found, whatever part of it names them."""

from __future__ import annotations

import re
from pathlib import Path

import mlops_infra.app
from mlops_infra.model.base import FileName, Noun, VariableName
from mlops_infra.model.load import load_text
from mlops_infra.model.named import kind_of, named_in
from mlops_infra.model.schema import _all_nouns, _attribute_docs
from mlops_infra.model.tree import spell

FILE = """
name: demo
ssh:
  identity: keys/login
  user: ops
  sudo_password: {file: secrets/sudo}
  bastion: {address: 10.0.1.1, identity: keys/jump}
hosts:
  masters: [{name: m1, address: 10.0.0.1, ssh: {identity: ~/.ssh/m1}}]
lb: {external: 10.0.0.20, stats: {password: {env: STATS}}}
monitoring:
  receivers: [{name: team, slack: {url: {file: secrets/slack}}}]
  rules: [rules/own.yaml]
  dashboards: [/srv/boards/own.json, ../shared/board.json]
mirrors: {apt: [{url: "http://a", key_file: keys/site.asc}]}
"""
ELSEWHERE = {
    "Backup.directory",  # written to
    "SshPlace.directory",  # on another host
    "Storage.path",  # on workers
    "Mirrors.files",  # a URL
    "Versions.local_path",  # a component's name
}
"""Fields that sound like files beside cluster.yaml, and are none."""


def test_everything_that_is_named_is_found_with_its_place() -> None:
    found = list(named_in(load_text(FILE, Path("cluster.yaml")).cluster))
    told = {spell(one.keys): one.name for one in found}
    assert told == {
        "ssh.identity": "keys/login", "ssh.sudo_password.file": "secrets/sudo", "ssh.bastion.identity": "keys/jump",
        "hosts.masters[0].ssh.identity": "~/.ssh/m1", "lb.stats.password.env": "STATS",
        "monitoring.receivers[0].slack.url.file": "secrets/slack", "monitoring.rules[0]": "rules/own.yaml",
        "monitoring.dashboards[0]": "/srv/boards/own.json", "monitoring.dashboards[1]": "../shared/board.json",
        "mirrors.apt[0].key_file": "keys/site.asc",
    }  # fmt: skip
    assert {one.name for one in found if one.is_login} == {"keys/login", "secrets/sudo", "keys/jump", "~/.ssh/m1"}
    beside = {one.name for one in found if one.lies_beside and not one.is_login}
    assert beside == {"secrets/slack", "rules/own.yaml", "keys/site.asc"}


def test_no_field_that_names_a_file_or_a_variable_is_typed_as_mere_text() -> None:
    words = re.compile(r"relative to|environment variable|\ba file\b|^files\b", re.IGNORECASE)
    names = re.compile(r"file|path|identity|directory")
    suspects = set()
    for noun in _all_nouns(Noun):
        docs = _attribute_docs(noun) if noun.__module__.startswith("mlops_infra.") else {}
        for key, info in noun.file_keys().items():
            is_text = "str" in str(info.annotation) and kind_of(info.annotation) is None
            if is_text and (names.search(key) or words.search(" ".join(docs.get(key, "").split()))):
                suspects.add(f"{noun.__name__}.{key}")
    assert suspects - ELSEWHERE == set(), "FileName or VariableName, so that bundles and recovery know of it"


def test_only_named_files_are_opened_beside_cluster_yaml() -> None:
    """`beside` takes a FileName, which mypy holds: whoever expands a path by hand goes around that."""
    found = {p.name for p in Path(mlops_infra.app.__path__[0]).glob("*.py") if "expanduser" in p.read_text("utf-8")}
    assert found == {"backup_store.py"}


def test_kinds_are_seen_through_options_and_collections() -> None:
    assert kind_of(FileName | None) is FileName
    assert kind_of(tuple[VariableName, ...]) is VariableName
    assert kind_of(dict[str, FileName]) is FileName
    assert kind_of(str | None) is None
