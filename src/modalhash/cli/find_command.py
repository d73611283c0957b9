"""`modalhash find`."""

import socket
import threading
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import click

import modalhash as mh
from modalhash.cli.options import (
    device_option,
    file_metadata_option,
    json_option,
    largest_picture_option,
)
from modalhash.cli.search_command import search_option, warn_of_doubts
from modalhash.cli.terminal import echo, echo_json, show_line
from modalhash.cli.watching import show_progress
from modalhash.errors import InputError
from modalhash.modalities import Side
from modalhash.search_request import GroupBy, SearchOptions, SearchRequest

if TYPE_CHECKING:
    from modalhash.search import SearchIndex

SECONDS_TO_START = 60
"""How long the browser waits for the page."""


@click.command("find", epilog='Example: modalhash find ~/Pictures "a dog in the snow"')
@click.argument("folder", type=click.Path(file_okay=False))
@click.argument("words", nargs=-1)
@search_option("--image", type=click.Path(dir_okay=False))
@click.option(
    "--model",
    type=click.Path(file_okay=False),
    help="Folder of a trained model, or offline-shared:64 or :256.  [default: offline-shared:384, "
    "the ready model for folders]",
)
@search_option("-k", type=int, shown="10")
@search_option("--where", more=", such as 'year >= 2020'")
@search_option("--group-by", type=click.Choice([group.value for group in GroupBy]))
@click.option("--open", "is_opened", is_flag=True, help="Open the search page in the browser.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False),
    help="Keep the indexes of folders here  [default: the user's cache folder].",
)
@file_metadata_option
@json_option
@largest_picture_option
@device_option
def command(
    folder: str,
    words: tuple[str, ...],
    *,
    image: str | None,
    model: str | None,
    k: int | None,
    where: str | None,
    group_by: str | None,
    is_opened: bool,
    cache: str | None,
    file_metadata: bool,
    as_json: bool,
    device: str,
) -> None:
    """Find the pictures in FOLDER that are nearest to WORDS or to a picture, and print their paths.

    Moments of videos are found too, as PATH#t=START,END in seconds. FOLDER needs no captions, and
    nothing is written into it. The first call encodes all pictures and videos in it and in the
    folders below, and keeps their index in the user's cache; later calls encode only what changed.
    """
    text = " ".join(words) or None
    if not is_opened and (text is None) == (image is None):
        raise click.UsageError("Give either words or --image.")
    if not is_opened:
        check_query(text, image, k, where, group_by)
    with (
        show_progress() as progress,
        mh.open_folder_index(
            folder,
            model=model,
            cache=cache,
            file_metadata=file_metadata,
            device=device,
            progress=progress,
        ) as index,
    ):
        place = index.folder
        if not is_opened:
            options = SearchOptions(target=Side.IMAGES, k=k, where=where, group_by=group_by)
            print_paths(index, text, image, options, as_json=as_json)
    if is_opened:
        open_page(str(place), text)


def check_query(
    text: str | None, image: str | None, k: int | None, where: str | None, group_by: str | None
) -> None:
    """Check what can be checked of a query before a folder is encoded.

    Raises:
        InputError: if there is no such picture, or an option has no sense.
    """
    SearchRequest(text=text, image=image, target=Side.IMAGES, k=k, where=where, group_by=group_by)
    if where is not None:
        from modalhash.index.filters import parse_filter

        parse_filter(where)
    if image is not None and not any(
        Path(name).is_file() for name in (image, image.rpartition("#t=")[0])
    ):
        raise InputError(f"{image}: there is no such picture")


def print_paths(
    index: "SearchIndex",
    text: str | None,
    image: str | None,
    options: SearchOptions,
    *,
    as_json: bool,
) -> None:
    """Search pictures, and print the paths of the hits, nearest first."""
    answer = index.search(text, image, **options)
    warn_of_doubts(answer, index.model.record.encoder["name"])
    if as_json:
        echo_json(answer.to_json())
        return
    if not answer.hits:
        echo("no picture passes the filter: choose a looser one", err=True)
    for hit in answer.hits:
        echo(show_line(str(hit.image)))


def open_page(index: str, text: str | None) -> None:
    """Serve the search page of an index on this machine, and open it in the browser."""
    from modalhash.service import log_to_stderr, parse_index_arguments, read_settings, serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings, _ = read_settings({"port": port, "log": "text", "show_paths": True}, file=None)
    log_to_stderr(settings.log)
    address = f"http://127.0.0.1:{port}/" + (f"?{urlencode({'q': text})}" if text else "")

    threading.Thread(target=open_when_served, args=(address, port), daemon=True).start()
    serve(parse_index_arguments([f"pictures={index}"]), settings)


def open_when_served(address: str, port: int) -> None:
    """Open an address in the browser as soon as a server listens on its port."""
    for _ in range(SECONDS_TO_START * 10):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                webbrowser.open(address)
                return
        time.sleep(0.1)
