"""`modalhash search`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

import modalhash as mh
from modalhash.cli.options import device_option, json_option

if TYPE_CHECKING:
    from modalhash.search import Explanation


@click.command(
    "search", epilog='Example: modalhash search photos.index --text "a dog in the snow" -k 5'
)
@click.argument("index", type=click.Path(file_okay=False))
@click.option("--text", help="Words to search for.")
@click.option("--image", type=click.Path(dir_okay=False), help="Picture to search for.")
@click.option(
    "-k",
    type=int,
    help="Answers at most  [default: 10; all with --radius or --min-relevance].",
)
@click.option("--radius", type=int, help="Only what differs in this many bits at most.")
@click.option(
    "--min-relevance",
    type=float,
    metavar="P",
    help="Only what is relevant with this probability at least, such as 0.5; takes an index that "
    "is calibrated.",
)
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
    "--explain",
    is_flag=False,
    flag_value="",
    metavar="[ID]",
    help="Say why the answers are where they are; or, instead of searching, why the item ID is.",
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
    k: int | None,
    radius: int | None,
    min_relevance: float | None,
    explain: str | None,
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
    if explain:
        found = opened.explain([explain], text, image, target=target)
        if as_json:
            click.echo(json.dumps({"format": 1, **found[0].to_json()}, ensure_ascii=False))
            return
        from modalhash.cli.explaining import print_explanations

        print_explanations(found)
        return
    answer = opened.search(
        text,
        image,
        k=k,
        target=target,
        where=where,
        radius=radius,
        min_relevance=min_relevance,
        rerank=rerank,
        rerank_by=rerank_by,
    )
    explained: Sequence[Explanation] = ()
    if explain is not None:
        explained = opened.explain([hit.id for hit in answer.hits], text, image, target=target)
    if sheet is not None:
        from modalhash.reports.sheet import write_sheet

        write_sheet([answer], Path(sheet))
    if as_json:
        document = answer.to_json()
        if explain is not None:
            document["explanations"] = [one.to_json() for one in explained]
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    from modalhash.cli.tables import print_answer

    print_answer(answer, with_scores=rerank != "0")
    if explained:
        from modalhash.cli.explaining import print_explanations

        print_explanations(explained)
    if sheet is not None:
        click.echo(f"sheet: {sheet}")
