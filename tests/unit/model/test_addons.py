"""Storage, metrics and monitoring in cluster.yaml: what fits, and what is said where it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.app.config import effective
from mlops_infra.model.load import load_text
from mlops_infra.model.monitoring import seconds_of, size_of
from mlops_infra.model.problem import ConfigProblems

HOOK = {"name": "team", "webhook": {"url": "http://10.0.0.9:9095/alerts"}}


def document(**sections: Any) -> str:
    hosts = {
        "lb": [{"name": "lb-1", "address": "10.0.0.1"}],
        "masters": [{"name": "m1", "address": "10.0.1.1"}],
        "workers": [{"name": "w1", "address": "10.0.2.1"}],
    }
    return json.dumps({"name": "demo", "ssh": {"user": "a"}, "hosts": hosts, **sections}, indent=1)


def said(**sections: Any) -> str:
    """Every message, errors and warnings, about these sections."""
    try:
        problems = load_text(document(**sections), Path("cluster.yaml")).warnings
    except ConfigProblems as error:
        problems = error.problems
    return "\n".join(f"{p.path} {p.message}" for p in problems)


def monitoring(**parts: Any) -> dict[str, Any]:
    return {"monitoring": {"enabled": True, "receivers": [HOOK], **parts}, "storage": {"class": "local-path"}}


def test_a_whole_section_is_taken_without_a_word() -> None:
    assert "monitoring" not in said(**monitoring())
    assert "storage" not in said(**monitoring())


def test_alerts_without_anybody_to_tell_are_warned_of() -> None:
    assert "nobody is told" in said(**monitoring(receivers=[]))
    only_watchdog = [{**HOOK, "watchdog": True}]
    assert "nobody is told" in said(**monitoring(receivers=only_watchdog))
    assert "nobody is told" not in said(**monitoring())


def test_what_is_switched_off_is_not_complained_about() -> None:
    assert "monitoring" not in said(monitoring={"enabled": False}, storage={"class": "none"})


def test_without_a_class_prometheus_forgets() -> None:
    found = said(monitoring={"enabled": True, "receivers": [HOOK]}, storage={"class": "none"})
    assert "storage.class" in found
    assert "forgets" in found


def test_node_ports_of_two_parts_clash() -> None:
    assert "port 32624 is taken by `lb.ingress.http_node_port`" in said(**monitoring(grafana={"node_port": 32624}))
    both = monitoring(grafana={"node_port": 30901}, prometheus={"node_port": 30901})
    assert "port 30901 is taken by `monitoring.prometheus.node_port`" in said(**both)


def test_two_receivers_of_one_name_and_one_without_a_way_are_errors() -> None:
    assert "two receivers are called `team`" in said(**monitoring(receivers=[HOOK, HOOK]))
    assert "at least one of `email`" in said(**monitoring(receivers=[{"name": "team"}]))


def test_a_mail_servers_user_needs_its_password() -> None:
    mail = {"to": ["a@example.com"], "sender": "b@example.com", "smarthost": "mail:587", "user": "b"}
    assert "go together" in said(**monitoring(receivers=[{"name": "team", "email": mail}]))
    mail["password"] = {"env": "X"}
    assert "go together" not in said(**monitoring(receivers=[{"name": "team", "email": mail}]))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"prometheus": {"retention": "15 days"}}, "not a time such as"),
        ({"prometheus": {"volume": "10GB"}}, "not a size such as"),
        ({"alert_delay": 0}, "alert_delay"),
        ({"receivers": [{"name": "x", "email": {"to": ["ops"], "sender": "a@b.c", "smarthost": "m:25"}}]}, "`ops`"),
        ({"receivers": [{"name": "x", "email": {"to": ["o@b.c"], "sender": "a@b.c", "smarthost": "m"}}]}, "its port"),
    ],
)
def test_nonsense_is_refused_with_its_place(parts: dict[str, Any], words: str) -> None:
    assert words in said(**monitoring(**parts))


def test_a_key_in_clear_text_is_warned_of_and_never_repeated() -> None:
    slack = {"name": "chat", "slack": {"url": "https://hooks.example/T0/s3cret"}}
    found = said(**monitoring(receivers=[HOOK, slack]))
    assert "monitoring.receivers[1].slack.url" in found
    assert "s3cret" not in found
    assert "clear text" not in said(**monitoring())


def test_the_class_keeps_its_name_in_what_config_show_prints() -> None:
    cluster = load_text(document(storage={"class": "nfs"}), Path("cluster.yaml")).cluster
    assert effective(cluster)["storage"]["class"] == "nfs"
    assert cluster.storage.claimed == "nfs"
    assert not cluster.storage.is_ours


def test_a_misspelt_class_is_found_again() -> None:
    with pytest.raises(ConfigProblems) as wrong:
        load_text(document(storage={"clas": "nfs"}), Path("cluster.yaml"))
    assert "did you mean `class`?" in str(wrong.value.problems[0].hint)


def test_times_and_sizes_are_counted() -> None:
    assert (seconds_of("36h"), seconds_of("15d"), size_of("10Gi")) == (129600, 1296000, 10 * 2**30)


def test_a_traefik_that_cannot_stand_in_for_ingress_nginx_is_warned_of() -> None:
    chosen = {"ingress": {"controller": "traefik"}}
    assert "raefik" not in said(**chosen) and "ingress-nginx" not in said(**chosen)
    for version in ("3.6.1", "4.0.0"):
        assert f"Traefik {version} cannot stand in" in said(**chosen, versions={"traefik": version})
        assert "Traefik" not in said(versions={"traefik": version})
