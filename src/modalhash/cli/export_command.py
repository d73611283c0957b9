"""`modalhash export`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import RESULT_FOLDER, overwrite_option
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress

SITE_OPTIONS = ("runtime", "thumbnails", "links", "fields", "weights", "site_name")


class Form(click.Choice[str]):
    """Forms of a model or a page; a target of codes is no form, and is named without an option."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read a form; fail with the command that exports codes if it is none."""
        if value in self.choices:
            return str(value)
        return self.fail(
            f"{value!r} is not one of {', '.join(self.choices)}. Codes for another system, such as "
            "faiss or pgvector, go without --format: modalhash export SOURCE faiss -o FOLDER",
            param,
            ctx,
        )


@click.command(
    "export",
    epilog="Examples: modalhash export photos.index pgvector -o photos.sql; modalhash export run "
    "--format onnx --with-encoder; modalhash export photos.index --format site -o docs "
    "--runtime npm",
)
@click.argument("source", type=click.Path())
@click.argument("target", required=False)
@click.option(
    "-o",
    "--output",
    type=RESULT_FOLDER,
    help="New folder.  [default with --format onnx: `onnx` beside the model, where searching "
    "without torch looks for it]",
)
@click.option(
    "--format",
    "form",
    type=Form(["onnx", "sentence-transformers", "site"]),
    help="Export the model of SOURCE, or a web page that searches it, not codes for a TARGET such "
    "as faiss.",
)
@click.option(
    "--with-encoder",
    is_flag=True,
    help="With --format onnx: write the encoder too, so that texts and pictures can be encoded.",
)
@click.option(
    "--side",
    type=click.Choice(["images", "texts"]),
    help="Codes to export, of a SOURCE that has both.  [default: images]",
)
@click.option(
    "--name", default="codes", show_default=True, help="Of the table, collection or index there."
)
@click.option(
    "--keys",
    type=click.Choice(["ids", "rows"]),
    help="Where keys are integers: the ids, or numbers from 0.  [default: ids if integers]",
)
@click.option(
    "--runtime",
    metavar="FOLDER",
    help="With --format site: the npm package onnxruntime-web; `npm` has npm fetch it, `none` "
    "makes a site without words.  [default: node_modules here]",
)
@click.option(
    "--thumbnails",
    type=click.IntRange(0, 2048),
    metavar="PIXELS",
    help="With --format site: longer side of small pictures; 0 for none.  [default: 256]",
)
@click.option(
    "--links",
    metavar="PREFIX",
    help="With --format site: what stands before a picture's name in links to whole pictures.",
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME",
    help="With --format site: metadata that goes along; may be repeated.",
)
@click.option(
    "--weights",
    type=click.Choice(["float32", "float16", "int8"]),
    help="With --format site: of the text encoder; small ones load faster, and some bits differ.  "
    "[default: float32]",
)
@click.option("--site-name", metavar="NAME", help="With --format site.  [default: the index's]")
@overwrite_option
def command(
    source: str,
    target: str | None,
    *,
    output: str | None,
    form: str | None,
    with_encoder: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Write the codes of SOURCE, its model, or a search page, as files that others load.

    Codes: SOURCE is an index folder or what `modalhash encode` wrote. TARGET is elasticsearch,
    faiss, milvus, npy, opensearch, pgvector, qdrant or usearch. The folder holds the files, a
    README.md with the commands that load and ask them, and export.json with the number of bits, the
    bit order and what the target's distances mean. Ids and metadata go along; deleted items don't.

    A model: SOURCE is a run folder, an index folder or the name of a ready model, and --format says
    how it is written. `onnx` writes the hash functions of both modalities, which ONNX Runtime
    computes without torch, to the same bits. `sentence-transformers` writes the text side, whose
    `encode(texts, precision="ubinary")` gives the codes.

    A page: SOURCE is an index folder, and --format is `site`. The new folder is a static web page
    with all that it needs: any web server or GitHub Pages can host it, below any path, and the
    browser searches. Answers are those of `modalhash serve`.
    """
    site_options = {name: options.pop(name) for name in SITE_OPTIONS}
    if (target is None) == (form is None):
        raise click.UsageError("Name either a TARGET for codes, or the --format of the model.")
    if with_encoder and form != "onnx":
        raise click.UsageError("--with-encoder goes with --format onnx.")
    stated = {name: value for name, value in site_options.items() if value not in (None, ())}
    if stated and form != "site":
        option = "field" if "fields" in stated else next(iter(stated)).replace("_", "-")
        raise click.UsageError(f"--{option} goes with --format site.")
    if form is not None:
        if form == "site":
            export_site(source, require_output(output), overwrite=overwrite, **stated)
        elif form == "onnx":
            export_onnx(source, output, with_encoder=with_encoder, overwrite=overwrite)
        else:
            export_sentence_model(source, require_output(output), overwrite=overwrite)
        return
    assert target is not None
    folder = require_output(output)
    with show_progress() as progress:
        result = mh.export_codes(
            source, target, folder, overwrite=overwrite, progress=progress, **options
        )
    echo(
        f"{result.n_items:,} codes of {result.n_bits} bits for {result.target} in {result.folder}; "
        "README.md there says how to load them"
    )


def require_output(output: str | None) -> str:
    """Refuse to go on without a folder."""
    if output is None:
        raise click.UsageError("Name the new folder: -o FOLDER.")
    return output


def export_onnx(source: str, output: str | None, *, with_encoder: bool, overwrite: bool) -> None:
    """Export a model as ONNX files, and say what was written."""
    result = mh.export_onnx(source, output, with_encoder=with_encoder, overwrite=overwrite)
    whole = "hash functions and encoder" if with_encoder else "hash functions"
    query = "a query" if with_encoder else "a query by features (for words: --with-encoder)"
    echo(
        f"{whole} of {result.n_bits} bits as ONNX files, {result.n_bytes / 1e6:.1f} MB, in "
        f"{result.folder}; pip install 'modalhash[onnx]' is all that {query} with them needs"
    )


def export_sentence_model(source: str, output: str, *, overwrite: bool) -> None:
    """Export the text side of a model, and say what was written."""
    result = mh.export_sentence_model(source, output, overwrite=overwrite)
    echo(
        f"text side of {result.n_bits} bits for sentence-transformers in {result.folder}; of "
        f"{result.n_compared:,} bits of made captions {result.n_different:,} differ"
    )


def export_site(source: str, output: str, *, overwrite: bool, **options: Any) -> None:
    """Export an index as a web page, and say what was written."""
    options["name"] = options.pop("site_name", "")
    with show_progress() as progress:
        result = mh.export_site(source, output, overwrite=overwrite, progress=progress, **options)
    echo(
        f"a page that searches {result.n_items:,} codes of {result.n_bits} bits, "
        f"{result.n_bytes / 1e6:.1f} MB, in {result.folder}; see it with `python3 -m http.server` "
        "there"
    )
    if result.compared is not None:
        echo(
            f"of {result.compared.n_bits:,} bits of made captions {result.compared.n_different:,} "
            "differ from the model's own"
        )
    if result.n_missing:
        echo(f"{result.n_missing:,} pictures can't be read, and are shown as missing", err=True)
