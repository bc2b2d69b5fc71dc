"""`backup etcd|list|show|verify|key`."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlops_infra.cli.backup_copies import copies, copy, fetch, prune
from mlops_infra.cli.backup_drill import drill
from mlops_infra.cli.backup_resources import put_back, resources
from mlops_infra.cli.backup_restore import restore
from mlops_infra.cli.backup_schedule import schedule
from mlops_infra.cli.options import options_of
from mlops_infra.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from mlops_infra.app.context import SiteContext
    from mlops_infra.ui.output import Output

app = typer.Typer(help="Backups of etcd and of what a cluster is made of.")
key = typer.Typer(help="The key that opens backups.")
app.add_typer(key, name="key")

_KEYS = typer.Option([], "--key", metavar="FILE", help="A private key of age (again for more); default: the site's.")


@app.command()
def etcd(
    ctx: typer.Context,
    source: str = typer.Option("", "--from", metavar="MASTER", help="Take it from this master's member."),
) -> int:
    """Take a snapshot, prove it by a trial restore, and keep it as one encrypted bundle.

    With it go certificates, keys, configuration of all parts, cluster.yaml and versions. Not the persistent volumes.
    Works while the API is down. Copies go to the places of cluster.yaml (backup.copies). Exit 3: the bundle is good,
    but the files of a load balancer are missing, or a place did not take its copy.

    Example:  mlops-infra backup etcd
    """
    from mlops_infra.app.backup import Steps, take_backup  # noqa: PLC0415
    from mlops_infra.app.backup_places import copy_to_all  # noqa: PLC0415
    from mlops_infra.app.reach import transport_of  # noqa: PLC0415
    from mlops_infra.ui.backup import STEPS, backup_shape, backup_text  # noqa: PLC0415
    from mlops_infra.ui.backup_copies import sent_shape, sent_text  # noqa: PLC0415

    out, context = _opened(ctx)
    with closing(transport_of(context, lambda: out.ask_secret("sudo password"))) as transport:
        steps = Steps(lambda step: out.aside(f"{out.style.dim('·')} {STEPS.get(step, step)}"))
        done = take_backup(context, transport, steps, source=source or None)
        sent = copy_to_all(done.bundle, context, transport)
    out.text("\n".join(text for text in (backup_text(done, out.style), sent_text(sent, out.style)) if text))
    out.answer({**backup_shape(done), "copies": sent_shape(sent)})
    return ExitCode.PARTLY if any(one.problem for one in sent) else done.exit_code


@app.command("list")
def list_(ctx: typer.Context, keys: list[Path] = _KEYS) -> None:
    """Show the bundles and the saved objects there are, newest first. Their contents are not verified."""
    from mlops_infra.app.backup_store import OBJECTS, bundles, directory_of  # noqa: PLC0415
    from mlops_infra.ui.backup import list_shape, list_text  # noqa: PLC0415

    out, context = _opened(ctx)
    directory = directory_of(context.cluster, context.site)
    stored = bundles(directory)
    found = _listed(stored, identities_of(context, keys) if stored else [])
    objects = bundles(directory, suffix=OBJECTS)
    out.text(list_text(found, objects, str(directory), out.style))
    out.answer(list_shape(found, objects, str(directory)))


@app.command()
def show(
    ctx: typer.Context,
    bundle: str = typer.Argument("last", help="A file, the name of one, or `last`."),
    keys: list[Path] = _KEYS,
) -> None:
    """Show what a bundle says of itself, and its files. Reads its beginning only."""
    from mlops_infra.app.backup_bundle import read_manifest  # noqa: PLC0415
    from mlops_infra.ui.backup import manifest_shape, manifest_text  # noqa: PLC0415

    out, context = _opened(ctx)
    path = bundle_named(context, bundle)
    manifest = read_manifest(path, identities_of(context, keys))
    out.text(manifest_text(str(path), manifest, out.style, files=True, verified=False))
    out.answer({"bundle": str(path), **manifest_shape(manifest)})


@app.command()
def verify(
    ctx: typer.Context,
    bundle: str = typer.Argument("last", help="A file, the name of one, or `last`."),
    keys: list[Path] = _KEYS,
    any_cluster: bool = typer.Option(False, "--any-cluster", help="Whichever cluster it is of."),
) -> None:
    """Read all of a bundle: that it opens, that every file is what was put in, and that it is of this cluster.

    Exit 1: it is not; the reason is said.
    """
    from mlops_infra.app.backup_bundle import identity_of  # noqa: PLC0415
    from mlops_infra.app.backup_bundle import verify as verify_bundle  # noqa: PLC0415
    from mlops_infra.ui.backup import manifest_shape, manifest_text  # noqa: PLC0415

    out, context = _opened(ctx)
    path = bundle_named(context, bundle)
    expected = None if any_cluster else identity_of(context.cluster, context.site)
    manifest = verify_bundle(path, identities_of(context, keys), expected)
    out.text(manifest_text(str(path), manifest, out.style, files=False, verified=True))
    if expected is not None and expected.ca_sha256 is None:
        out.aside("only the cluster's name could be compared: there is no kubeconfig here (`mlops-infra kubeconfig`)")
    out.answer({"bundle": str(path), "ok": True, **manifest_shape(manifest, files=False)})


app.command()(restore)
app.command()(resources)
app.command("put-back")(put_back)
app.command()(copy)
app.command()(copies)
app.command()(fetch)
app.command()(prune)
app.command()(schedule)
app.command()(drill)


@key.command("path")
def key_path_(ctx: typer.Context) -> None:
    """Print where the private key is, and its public key."""
    from mlops_infra.app.backup_key import key_state  # noqa: PLC0415
    from mlops_infra.ui.backup import key_shape, key_text  # noqa: PLC0415

    out, context = _opened(ctx)
    state = key_state(context.cluster, context.site)
    out.text(key_text(state, out.style))
    out.answer(key_shape(state))


@key.command("export")
def key_export(
    ctx: typer.Context, file: Path | None = typer.Argument(None, help="Where to; without it the key is printed.")
) -> None:
    """Copy the private key to FILE (0600), or print it; keep the copy away from the backups and from this machine.

    Examples:  mlops-infra backup key export /media/usb/mlops-key.txt  |  mlops-infra backup key export | lpr
    """
    from mlops_infra.app.backup_key import export_key, key_state  # noqa: PLC0415
    from mlops_infra.ui.backup import key_shape  # noqa: PLC0415

    out, context = _opened(ctx)
    secret = export_key(context.site, file)
    state = key_shape(key_state(context.cluster, context.site))
    if file is not None:
        out.text(f"written to {file}: whoever has it can open the backups")
        out.answer({**state, "exported_to": str(file)})
    elif out.as_json:
        out.answer({**state, "private": secret.reveal()})
    else:
        sys.stdout.write(secret.reveal())


def _opened(ctx: typer.Context) -> tuple[Output, SiteContext]:
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.ui.output import Output  # noqa: PLC0415

    options = options_of(ctx)
    return Output(as_json=options.json, verbose=options.verbose), open_site(options.config, options.lab)


def identities_of(context: SiteContext, keys: list[Path]) -> list[Any]:
    """The private keys of these files, or the site's own. Raises ConfigError."""
    from mlops_infra.app.backup_key import identities, key_path  # noqa: PLC0415

    return identities(keys or [key_path(context.site)])


def bundle_named(context: SiteContext, name: str) -> Path:
    """Raises UsageError when there is no such bundle."""
    from mlops_infra.app.backup_store import bundles, directory_of, newest  # noqa: PLC0415

    if Path(name).is_file():
        return Path(name)
    directory = directory_of(context.cluster, context.site)
    last = newest(context.cluster, context.site)
    if name == "last" and last is not None:
        return last.path
    if "/" not in name and (directory / name).is_file():
        return directory / name
    there = ", ".join(b.path.name for b in bundles(directory)[:3])
    raise UsageError(
        f"there is no backup {name!r}" if name != "last" else f"there is no backup in {directory} yet",
        remedy=f"There are {there}." if there else "mlops-infra backup etcd",
        exit_code=ExitCode.FAILED if name == "last" else None,
    )


def _listed(stored: Any, identities: list[Any]) -> list[Any]:
    from mlops_infra.app.backup_bundle import BundleError, read_manifest  # noqa: PLC0415
    from mlops_infra.ui.backup import Listed  # noqa: PLC0415

    found = []
    for one in stored:
        try:
            found.append(Listed(one, read_manifest(one.path, identities)))
        except BundleError as error:
            found.append(Listed(one, None, error))
    return found
