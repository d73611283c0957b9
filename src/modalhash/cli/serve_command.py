"""`modalhash serve`."""

from typing import Any

import click

from modalhash.cli.options import device_option
from modalhash.cli.serving_options import pictures_option, read_server


@click.command(
    "serve", epilog="Example: modalhash serve photos.index texts=other.index --port 8000"
)
@click.argument("indexes", nargs=-1, metavar="[NAME=]INDEX...")
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    help="TOML file with settings, and a table [indexes]  [default: $MODALHASH_SERVE_CONFIG].",
)
@click.option("--host", help="Address to listen on  [default: 127.0.0.1].")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one  [default: 8000].")
@click.option("--writable", is_flag=True, default=None, help="Let clients add and delete items.")
@click.option(
    "--keys",
    type=click.Path(dir_okay=False),
    help="File of API keys, which `modalhash key` keeps  [default: no key is asked for].",
)
@pictures_option
@click.option(
    "--show-paths",
    is_flag=True,
    default=None,
    help="Tell clients where pictures lie on this machine, so that the page can copy their paths.",
)
@click.option("--no-page", "page", flag_value=False, default=None, help="Serve no search page.")
@click.option(
    "--log",
    type=click.Choice(["auto", "json", "text"]),
    help="Form of the log; auto is text in a terminal, else json  [default: auto].",
)
@click.option(
    "--hosts",
    help="Names in the Host header that are answered, with commas  [default: those of this "
    "machine where it listens on a loopback address, else all].",
)
@click.option("--origins", help="Origins of other sites' pages that may read answers (CORS).")
@click.option("--proxies", help="Addresses of proxies whose X-Forwarded-For is believed.")
@click.option("--body-bytes", type=int, help="Bytes of a body at most  [default: 16777216].")
@click.option("--pixels", type=int, help="Pixels of a picture at most  [default: 50000000].")
@click.option(
    "--pixels-together",
    type=int,
    help="Pixels of the pictures of all requests together at most  [default: twice --pixels].",
)
@click.option("--text-length", type=int, help="Characters of a text at most  [default: 2000].")
@click.option("--filter-length", type=int, help="Characters of a filter at most  [default: 4096].")
@click.option("--filter-conditions", type=int, help="Conditions of a filter  [default: 50].")
@click.option("--filter-timeout", type=float, help="Seconds that a filter may take  [default: 5].")
@click.option(
    "--values",
    type=int,
    help="Commas, colons and brackets of a JSON body at most  [default: 100000].",
)
@click.option("--most-hits", "k", type=int, help="Hits of a side at most  [default: 1000].")
@click.option("--rerank", type=int, help="Items reranked at most  [default: 5000].")
@click.option("--batch", type=int, help="Entries of one request at most  [default: 256].")
@click.option("--hits", type=int, help="Hits of one request at most  [default: 50000].")
@click.option("--concurrent", type=int, help="Requests under way at most  [default: 128].")
@click.option(
    "--client-share",
    type=float,
    help="Part of --concurrent and of memory for bodies that one client may take  [default: 0.5].",
)
@click.option("--connections", type=int, help="Open connections at most  [default: 1024].")
@click.option(
    "--client-connections", type=int, help="Open connections of one client  [default: 128]."
)
@click.option("--head-bytes", type=int, help="Bytes of a request's headers  [default: 32768].")
@click.option("--head-timeout", type=float, help="Seconds for headers to come  [default: 10].")
@click.option("--body-timeout", type=float, help="Seconds for a body to come  [default: 30].")
@click.option("--rate", type=float, help="Requests a second of one key or address  [default: any].")
@click.option("--burst", type=int, help="Requests at once above the rate  [default: twice it].")
@click.option("--timeout", type=float, help="Seconds for a request at most  [default: 30].")
@click.option("--grace", type=float, help="Seconds that a shutdown waits at most  [default: 30].")
@click.option(
    "--batch-texts", type=int, help="Texts encoded together at most  [default: 64; 1: each alone]."
)
@click.option("--batch-wait", type=float, help="Milliseconds a query waits  [default: 2].")
@click.option("--search-threads", type=int, help="Threads that search  [default: 2].")
@click.option(
    "--watch", type=float, help="Seconds between looks for new folders and keys  [default: 2]."
)
@device_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    indexes: tuple[str, ...],
    config: str | None,
    device: str,
    **flags: Any,
) -> None:
    """Serve one index or several over HTTP: an API and a search page.

    An index is named after its folder, or by what stands before the '='. Every option can also be
    set in the environment (MODALHASH_SERVE_PORT for --port) or in the file; the option comes first.
    """
    from modalhash.service import log_to_stderr, serve

    settings, folders = read_server(context, indexes, config=config, device=device, flags=flags)
    log_to_stderr(settings.log)
    serve(folders, settings)
