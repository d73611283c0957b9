"""`modalhash mcp`."""

from typing import Any, Final

import click

from modalhash.cli.options import device_option
from modalhash.cli.serving_options import pictures_option, read_server

HTTP_OPTIONS: Final = ("host", "port", "keys", "hosts", "origins", "proxies")


@click.command("mcp", epilog="Example: modalhash mcp photos.index")
@click.argument("indexes", nargs=-1, metavar="[NAME=]INDEX...")
@click.option("--http", "is_http", is_flag=True, help="Listen on an address instead of stdin.")
@click.option("--host", help="With --http: address to listen on  [default: 127.0.0.1].")
@click.option("--port", type=int, help="With --http: port, 0 takes a free one  [default: 8000].")
@click.option(
    "--keys",
    type=click.Path(dir_okay=False),
    help="With --http: file of API keys, which `modalhash key` keeps  [default: no key].",
)
@click.option(
    "--hosts",
    help="With --http: names in the Host header that are answered, with commas  [default: those "
    "of this machine where it listens on a loopback address, else all].",
)
@click.option("--origins", help="With --http: origins of other sites' pages that may ask.")
@click.option("--proxies", help="With --http: proxies whose X-Forwarded-For is believed.")
@click.option(
    "--query-pictures",
    multiple=True,
    metavar="FOLDER",
    help="Let the assistant name pictures in this folder to search for; not with --http; may be "
    "given several times  [default: it reads no files].",
)
@pictures_option
@click.option(
    "--show-paths",
    is_flag=True,
    default=None,
    help="Tell the assistant where pictures lie on this machine, not only below their folder.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    help="TOML file with settings of the server, as `serve` takes it  "
    "[default: $MODALHASH_SERVE_CONFIG].",
)
@click.option(
    "--log",
    type=click.Choice(["auto", "json", "text"]),
    help="Form of the log on stderr; auto is json with --http and no terminal  [default: auto].",
)
@device_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    indexes: tuple[str, ...],
    is_http: bool,
    query_pictures: tuple[str, ...],
    config: str | None,
    device: str,
    **flags: Any,
) -> None:
    """Serve one index or several to assistants over the Model Context Protocol.

    An assistant starts the command and speaks with it over standard input and output; with --http
    it listens at /mcp. Its tools search, look up and describe; none of them changes anything.
    """
    from modalhash.mcp_server import serve_over_http, serve_over_stdio
    from modalhash.service import log_to_stderr

    refuse_options(flags, query_pictures, is_http=is_http)
    settings, folders = read_server(context, indexes, config=config, device=device, flags=flags)
    if is_http:
        log_to_stderr(settings.log)
        serve_over_http(folders, settings)
    else:
        log_to_stderr("text" if settings.log == "auto" else settings.log)
        serve_over_stdio(folders, settings, query_folders=query_pictures)


def refuse_options(
    flags: dict[str, Any], query_pictures: tuple[str, ...], *, is_http: bool
) -> None:
    """Refuse options of the other way to connect.

    Raises:
        UsageError: naming the option.
    """
    if is_http and query_pictures:
        raise click.UsageError(
            "--query-pictures isn't for --http: clients elsewhere may read no files of this "
            "machine; they send a picture in base 64."
        )
    if not is_http:
        for name in HTTP_OPTIONS:
            if flags[name] is not None:
                raise click.UsageError(f"--{name} is for --http, which is missing.")
