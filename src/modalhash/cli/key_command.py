"""`modalhash key`."""

from typing import Any

import click

from modalhash.cli.options import Option
from modalhash.cli.terminal import echo

keys_option: Option[Any] = click.option(
    "--keys",
    type=click.Path(dir_okay=False),
    default="keys.json",
    show_default=True,
    help="File that keeps the keys' hashes.",
)


@click.group("key")
def command() -> None:
    """Create, list and revoke API keys of a server."""


@command.command("new", epilog="Example: modalhash key new reporting --role read")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["read", "write"]),
    default="read",
    show_default=True,
    help="What it allows; write includes read.",
)
@keys_option
def create_key(name: str, *, role: str, keys: str) -> None:
    """Create a key and print it once: the file keeps only its hash."""
    from modalhash.service import KeyFile

    file, token = KeyFile.read(keys, is_needed=False).add_key(name, role)
    file.write()
    echo(token)


@command.command("list", epilog="Example: modalhash key list --keys keys.json")
@keys_option
def list_keys(keys: str) -> None:
    """List the keys: name, role, when it was made."""
    from modalhash.service import KeyFile

    for key in KeyFile.read(keys).keys:
        echo(f"{key.name}\t{key.role}\t{key.created}")


@command.command("revoke", epilog="Example: modalhash key revoke reporting")
@click.argument("name")
@keys_option
def revoke_key(name: str, *, keys: str) -> None:
    """Revoke a key: servers refuse it within some seconds."""
    from modalhash.service import KeyFile

    KeyFile.read(keys).remove_key(name).write()
    echo(f"{name} revoked")
