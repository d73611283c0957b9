"""`modalhash search`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import modalhash as mh
from modalhash.cli.delete_command import read_ids
from modalhash.cli.options import RESULT_FILE, Option, device_option, json_option
from modalhash.cli.terminal import echo, echo_json
from modalhash.modalities import Side
from modalhash.search_request import GroupBy, RerankBy, Scoring, SearchRequest

if TYPE_CHECKING:
    from modalhash.search import Answer, Explanation

logger = logging.getLogger("modalhash")


def search_option(name: str, *, more: str = "", shown: str = "", **settings: Any) -> Option[Any]:
    """Make the option of a field of `SearchRequest`, whose default and meaning stand there.

    Args:
        name: of the option.
        more: to say after the field's meaning.
        shown: the default, in words.
        settings: other arguments of `click.option`.
    """
    field = SearchRequest.__dataclass_fields__[name.lstrip("-").replace("-", "_")]
    help_text = field.metadata["about"]
    if more:
        help_text = f"{help_text.removesuffix('.')}{more}."
    if shown:
        help_text += f"  [default: {shown}]"
    return click.option(name, help=help_text, **settings)


@click.command(
    "search", epilog='Example: modalhash search photos.index --text "a dog in the snow" -k 5'
)
@click.argument("index", type=click.Path(file_okay=False))
@search_option("--text")
@search_option("--image", type=click.Path(dir_okay=False))
@search_option("-k", type=int, shown="10; all with --radius, --min-score or --min-relevance")
@search_option(
    "--scoring",
    type=click.Choice([scoring.value for scoring in Scoring]),
    shown=Scoring.ASYMMETRIC.value,
)
@search_option("--radius", type=int)
@search_option("--min-score", type=float, metavar="S", more=", from -1 to 1")
@search_option(
    "--min-relevance",
    type=float,
    metavar="P",
    more=", such as 0.5; takes an index that is calibrated",
)
@search_option(
    "--target",
    type=click.Choice([side.value for side in Side]),
    shown="images for --text, texts for --image",
)
@search_option("--where", more=", such as 'year >= 2020'")
@search_option(
    "--rerank",
    metavar="N",
    more=": a number, 'auto' (5 %, between 500 and 5000) or 'all'",
    shown="none",
)
@search_option(
    "--rerank-by",
    type=click.Choice([way.value for way in RerankBy]),
    more=": finer codes, features, or the query's relaxed code; auto is the first of the first two "
    "that the index has",
    shown="auto",
)
@search_option("--group-by", type=click.Choice([group.value for group in GroupBy]))
@click.option(
    "--explain",
    is_flag=False,
    flag_value="",
    metavar="[ID]",
    help="Say why the answers are where they are; or, instead of searching, why the item ID is.",
)
@click.option(
    "--sheet",
    type=RESULT_FILE,
    help="Also write the answers as pictures: a .html or .png file.",
)
@click.option(
    "--pictures",
    type=click.Path(file_okay=False),
    help="Where the pictures that were indexed lie now, if their folder was moved.",
)
@json_option
@device_option
def command(
    index: str,
    *,
    explain: str | None,
    sheet: str | None,
    as_json: bool,
    pictures: str | None,
    device: str,
    **fields: Any,
) -> None:
    """Find the items of INDEX that are nearest to words or to a picture."""
    if (fields["text"] is None) == (fields["image"] is None):
        raise click.UsageError("Give either --text or --image.")
    values = {name: value for name, value in fields.items() if value is not None}
    request = SearchRequest(explain=explain is not None, **values)
    searched = mh.open_index(index, pictures=pictures, device=device)
    if explain:
        (explanation,) = searched.explain_items(read_ids(searched, (explain,)), request)
        show_explanation(explanation, as_json=as_json)
        return
    (answer,) = searched.answer(request)
    warn_of_doubts(answer, searched.model.record.encoder["name"])
    if sheet is not None:
        from modalhash.reports.sheet import write_sheet

        write_sheet([answer], Path(sheet))
    if as_json:
        echo_json(answer.to_json())
        return
    from modalhash.cli.explaining import print_explanations
    from modalhash.cli.tables import print_answer

    print_answer(answer)
    if not answer.hits:
        from modalhash.search.filter_fields import hint_at_lists

        side = searched.sides[answer.target]
        hint = None if fields["where"] is None else hint_at_lists(side, fields["where"])
        echo(hint or explain_no_hits(fields, has_items=bool(side)))
    if answer.explanations:
        print_explanations(answer.explanations)
    if sheet is not None:
        echo(f"sheet: {sheet}")


def explain_no_hits(fields: Mapping[str, Any], *, has_items: bool) -> str:
    """Explain why a search has no hits, and what to do.

    Args:
        fields: the options that the user gave, by the names of `SearchRequest`; None is not given.
        has_items: whether the searched side has any items.
    """
    if not has_items:
        return "the searched side of this index has no items: modalhash add adds some"
    limits = [
        f"--{name.replace('_', '-')} {fields[name]}"
        for name in ("radius", "min_score", "min_relevance", "where")
        if fields[name] is not None
    ]
    return f"no item passes {' and '.join(limits)}: choose a looser limit"


def warn_of_doubts(answer: "Answer", encoder: str) -> None:
    """Warn of answers that mean nothing: of texts without a known word, or as far as by chance."""
    for text in answer.unknown:
        logger.warning(
            "the text encoder of %r knows no word of %r, so the answers say nothing about it: use "
            "words of the texts or the language that the encoder was trained on",
            encoder,
            text,
        )
    if answer.near_chance and not answer.unknown:
        logger.warning(
            "even the nearest answers are no nearer than random codes would be: there may be "
            "nothing like it in the index, or the model doesn't know such words or pictures"
        )


def show_explanation(explanation: "Explanation", *, as_json: bool) -> None:
    """Print why one item is where it is."""
    if as_json:
        echo_json({"format": 1, **explanation.to_json()})
        return
    from modalhash.cli.explaining import print_explanations

    print_explanations([explanation])
