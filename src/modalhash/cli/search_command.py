"""`modalhash search`."""

import json
from pathlib import Path

import click

import modalhash as mh
from modalhash.cli.options import device_option, json_option


@click.command(
    "search", epilog='Example: modalhash search photos.index --text "a dog in the snow" -k 5'
)
@click.argument("index", type=click.Path(file_okay=False))
@click.option("--text", help="Words to search for.")
@click.option("--image", type=click.Path(dir_okay=False), help="Picture to search for.")
@click.option("-k", default=10, show_default=True, help="Answers at most.")
@click.option(
    "--target",
    type=click.Choice(["images", "texts"]),
    help="What to search  [default: images for --text, texts for --image].",
)
@click.option("--where", help="Only what passes this filter, such as 'year >= 2020'.")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False),
    help="Also write the answers as pictures: a .html or .png file.",
)
@json_option
@device_option
def command(
    index: str,
    *,
    text: str | None,
    image: str | None,
    k: int,
    target: str | None,
    where: str | None,
    sheet: str | None,
    as_json: bool,
    device: str,
) -> None:
    """Find what is nearest in INDEX to words or to a picture, by Hamming distance."""
    if (text is None) == (image is None):
        raise click.UsageError("Give either --text or --image.")
    opened = mh.open_index(index, device=device)
    answer = opened.search(text, image, k=k, target=target, where=where)
    if sheet is not None:
        from modalhash.bench.sheet import write_sheet

        write_sheet([answer], Path(sheet))
    if as_json:
        click.echo(json.dumps(answer.to_json(), ensure_ascii=False))
        return
    from modalhash.cli.tables import print_answer

    print_answer(answer)
    if sheet is not None:
        click.echo(f"sheet: {sheet}")
