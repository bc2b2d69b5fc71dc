"""`mlops-infra init`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from mlops_infra.app.ansible_inventory import read_inventory
from mlops_infra.app.init import Answers, NewHost, from_inventory, parse_host, write_cluster_file
from mlops_infra.cli.options import options_of
from mlops_infra.errors import UsageError
from mlops_infra.model.problem import Mark, Problem
from mlops_infra.ui.config import show_json, show_warnings, show_written

__all__ = ["init"]

HOST = "NAME=ADDRESS"


def init(  # noqa: PLR0917 - Typer reads options from parameters
    ctx: typer.Context,
    name: str = typer.Option("", "--name", help="The cluster's name."),
    user: str = typer.Option("", "--user", help="The user that SSH logs in as."),
    port: int | None = typer.Option(None, "--port", help="The port that sshd listens on; default: 22."),
    identity: str = typer.Option("", "--identity", metavar="FILE", help="The private key; default: the agent."),
    lb: list[str] = typer.Option([], "--lb", metavar=HOST, help="A load balancer (again for more)."),
    master: list[str] = typer.Option([], "--master", metavar=HOST, help="A master (again for more)."),
    worker: list[str] = typer.Option([], "--worker", metavar=HOST, help="A worker (again for more)."),
    external_lb: str = typer.Option("", "--external-lb", metavar="ADDRESS", help="A balancer somebody else runs."),
    endpoint: str = typer.Option("", "--endpoint", metavar="NAME", help="What nodes call the API."),
    pool: str = typer.Option("", "--pool", metavar="FIRST-LAST", help="Addresses for MetalLB."),
    kubernetes: str = typer.Option("", "--kubernetes", metavar="VERSION", help="The Kubernetes version."),
    from_ansible: Path | None = typer.Option(None, "--from-ansible", metavar="FILE", help="An Ansible inventory."),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there."),
) -> None:
    """Write a commented cluster.yaml, from options, an Ansible inventory, or questions.

    Examples:  mlops-infra init  |  mlops-infra init --from-ansible hosts.ini --name mlops  |
    mlops-infra init --name mlops --user ubuntu --lb lb-1=10.0.0.2 --master m1=10.0.0.3 --worker w1=10.0.0.4
    """
    options = options_of(ctx)
    ignored: list[str] = []
    if from_ansible is not None:
        _refuse_beside_inventory({"--port": port, "--lb": lb, "--master": master, "--worker": worker})
        inventory = read_inventory(from_ansible)
        answers, ignored = from_inventory(inventory, name or "mlops", user or None), inventory.ignored
    else:
        answers = _from_options(name, user, lb, master, worker, may_ask=sys.stdin.isatty() and not options.yes)
        answers.port = port or answers.port
    answers.identity = identity or answers.identity
    answers.external_lb, answers.endpoint = external_lb or None, endpoint or None
    answers.pool, answers.kubernetes = pool or answers.pool, kubernetes or None
    warnings = write_cluster_file(options.config, answers, force=force)
    if from_ansible is not None and ignored:
        said = f"left out, because no role is known for them: the groups {', '.join(ignored)}"
        warnings = (Problem(Mark(from_ansible), said), *warnings)
    if options.json:
        show_warnings(warnings)
        show_json({"written": str(options.config), "ignored": ignored})
    else:
        show_written(str(options.config), warnings)


def _refuse_beside_inventory(given: dict[str, object]) -> None:
    """The inventory names hosts and their ports; two answers to one question would leave one of them out."""
    named = [option for option, value in given.items() if value]
    if named:
        raise UsageError(
            f"--from-ansible and {' and '.join(named)} exclude each other: the inventory names hosts and ports",
            remedy="change the inventory, or the file once it is written",
        )


def _from_options(
    name: str, user: str, lb: list[str], master: list[str], worker: list[str], *, may_ask: bool
) -> Answers:
    if not master and not may_ask:
        raise UsageError(
            "a cluster needs a master",
            remedy="--master NAME=ADDRESS, or --from-ansible FILE, or a terminal for questions",
        )
    if not user and not may_ask:
        raise UsageError("SSH needs a user", remedy="--user NAME")
    if not master:
        name = name or typer.prompt("Name of the cluster", default="mlops")
        user = user or typer.prompt("User that SSH logs in as", default="ubuntu")
        lb = lb or _ask("Load balancers")
        master = _ask("Masters", default=None)
        worker = worker or _ask("Workers")
    user = user or typer.prompt("User that SSH logs in as", default="ubuntu")
    return Answers(
        name=name or "mlops",
        user=user,
        lb=_hosts(lb, "lb"),
        masters=_hosts(master, "master"),
        workers=_hosts(worker, "worker"),
    )


def _ask(title: str, default: str | None = "") -> list[str]:
    """Without a default it is asked again until something is said."""
    words = f"{title}: addresses or NAME=ADDRESS, with spaces between"
    said: str = typer.prompt(words, default=default, show_default=False)
    return said.replace(",", " ").split()


def _hosts(given: list[str], role: str) -> list[NewHost]:
    return [parse_host(text, role, number) for number, text in enumerate(given, 1)]
