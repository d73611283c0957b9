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
    "--rerank",
    default="0",
    metavar="N",
    help="Put the N items nearest by Hamming distance in the order of something finer: a number, "
    "'auto' (5 %, between 500 and 5000) or 'all'  [default: none].",
)
@click.option(
    "--rerank-by",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "fine", "features", "relaxed"]),
    help="Finer codes, features, or the query's relaxed code; auto is the first of the first two "
    "that the index has.",
)
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
    rerank: str,
    rerank_by: str,
    sheet: str | None,
    as_json: bool,
    device: str,
) -> None:
    """Find what is nearest in INDEX to words or to a picture, by Hamming distance."""
    if (text is None) == (image is None):
        raise click.UsageError("Give either --text or --image.")
    opened = mh.open_index(index, device=device)
    answer = opened.search(
        text, image, k=k, target=target, where=where, rerank=rerank, rerank_by=rerank_by
    )
    if sheet is not None:
        from modalhash.bench.sheet import write_sheet

        write_sheet([answer], Path(sheet))
    if as_json:
        click.echo(json.dumps(answer.to_json(), ensure_ascii=False))
        return
    from modalhash.cli.tables import print_answer

    print_answer(answer, with_scores=rerank != "0")
    if sheet is not None:
        click.echo(f"sheet: {sheet}")
