"""Who is told of alerts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from mlops_infra.model.base import DnsName, Noun
from mlops_infra.model.secret import SecretSource

__all__ = ["Email", "PagerDuty", "Receiver", "Slack", "Webhook"]

Severity = Literal["critical", "warning", "info"]


def _mailbox(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if not (local and at and domain) or any(c.isspace() or c == "," for c in value):
        raise ValueError(f"`{value}` is not one address such as ops@example.com")
    return value


def _smarthost(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"`{value}` is not a mail server with its port, such as mail.example.com:587")
    return value


Mailbox = Annotated[str, AfterValidator(_mailbox)]


class Email(Noun):
    to: tuple[Mailbox, ...] = Field(min_length=1)
    sender: Mailbox
    """The address that the mails come from."""
    smarthost: Annotated[str, AfterValidator(_smarthost)]
    """The mail server and its port, such as mail.example.com:587."""
    user: str = ""
    password: SecretSource | None = None
    """Of `user`."""
    require_tls: bool = True


class Slack(Noun):
    url: SecretSource
    """The incoming webhook's URL: whoever has it can write there."""
    channel: str = ""
    """Where not the one that the URL belongs to."""


class Webhook(Noun):
    url: SecretSource
    """What Alertmanager posts its JSON to. Plain text is fine where the URL holds no key."""


class PagerDuty(Noun):
    routing_key: SecretSource
    """Of an integration of the kind Events API v2."""


class Receiver(Noun):
    """One or more ways to somebody. Without any receiver alerts fire and nobody is told."""

    name: DnsName
    email: Email | None = None
    slack: Slack | None = None
    webhook: Webhook | None = None
    pagerduty: PagerDuty | None = None
    severities: tuple[Severity, ...] = ("critical", "warning")
    """Which alerts it is told of. Test alerts go to every receiver."""
    watchdog: bool = False
    """True: the Watchdog alert, and nothing else, every five minutes: for a service that cries when it stops coming."""

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Receiver:
        if not (self.email or self.slack or self.webhook or self.pagerduty):
            raise ValueError("a receiver has at least one of `email`, `slack`, `webhook` and `pagerduty`")
        return self
