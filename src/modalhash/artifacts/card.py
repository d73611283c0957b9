"""The model card: what a reader should know of a model, as Markdown."""

from collections.abc import Mapping
from typing import Any

from modalhash.codes import code_width

__all__ = ["model_card"]


def model_card(record: Mapping[str, Any]) -> str:
    """Write the card of a model.

    Args:
        record: the entries of `ModelRecord`.

    Returns:
        Markdown, ending in a newline.
    """
    trained_on = record["trained_on"]
    tuned = ", tuned; its weights are in encoder/" if record["encoder"].get("tuned") else ""
    lines = [
        f"# {record['title']}, {record['n_bits']} bits, trained on {trained_on['collection']}",
        "",
        (
            f"Hash functions for pictures and texts: each becomes {record['n_bits']} bits "
            f"({code_width(record['n_bits'])} bytes), compared by Hamming distance. Trained with "
            f"modalhash {record['modalhash']}."
        ),
        *shortening(record),
        *compatibility(record),
        "",
        "## Use",
        "",
        "```python",
        "import modalhash as mh",
        "",
        'model = mh.load_model("THIS_FOLDER")',
        'codes = model.encode_texts(["a dog running through snow"])',
        "```",
        "",
        "## Trained on",
        "",
        table(trained_on),
        "",
        (
            "The model knows what these pairs show and little else; measure it on your own data "
            "with `modalhash evaluate` before you rely on it."
        ),
        "",
        "## How",
        "",
        table(
            {
                "method": f"{record['title']} (`{record['method']}`)",
                "preset": record["preset"] or "none",
                "encoder": f"`{record['encoder']['name']}`{tuned}",
                "seed": record["seed"],
                **record["results"],
            }
        ),
        "",
        "### Method settings",
        "",
        table(record["settings"]) if record["settings"] else "None.",
        "",
        "### Training settings",
        "",
        table(record["training"]),
        "",
    ]
    return "\n".join(lines)


def shortening(record: Mapping[str, Any]) -> list[str]:
    """Describe what a model was shortened from, in lines; none if it was trained as it is."""
    source = record.get("shortened_from")
    if not source:
        return []
    return [
        "",
        (
            f"Shortened: the codes are the first {record['n_bits']} of the {source['n_bits']} bits "
            f"of the model that was trained, whose fingerprint is `{source['fingerprint']}`. "
            "Settings and results below are those of its training."
        ),
    ]


def compatibility(record: Mapping[str, Any]) -> list[str]:
    """Describe the former models whose codes a model searches, in lines; none if there are none."""
    former = record.get("compatible_with")
    if not former:
        return []
    names = ", ".join(f"`{entry['fingerprint']}`" for entry in former)
    return [
        "",
        (
            "Compatible: its queries search codes of the former models with these fingerprints, "
            f"and its codes may be added to theirs: {names}."
        ),
    ]


def table(entries: Mapping[str, Any]) -> str:
    """Write a two-column Markdown table."""
    rows = [f"| {name} | {value} |" for name, value in entries.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])
