"""Tokenizers as rules that the page's own JavaScript follows: BERT's word pieces."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from modalhash.errors import InputError

__all__ = ["read_word_rules"]

MODEL: Final = {"type": "WordPiece"}
SPLITTER: Final = "BertPreTokenizer"
NORMALISER: Final = "BertNormalizer"
TEMPLATES: Final = ("TemplateProcessing", "BertProcessing")
PLAIN_MARK: Final = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def read_word_rules(tokenizer: str, *, longest: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """Read what `word_pieces.js` needs from a tokenizer of the package `tokenizers`.

    Args:
        tokenizer: JSON of the tokenizer.
        longest: word pieces of a text at most, marks included.
        known: by what rule a text is known to the model, as `onnx.json` says it.

    Raises:
        InputError: if it isn't a tokenizer of BERT's kind.
    """
    document = json.loads(tokenizer)
    model, normaliser = document["model"], document.get("normalizer") or {}
    splitter, template = document.get("pre_tokenizer") or {}, document.get("post_processor") or {}
    kinds = [model["type"], normaliser.get("type"), splitter.get("type"), template.get("type")]
    if (
        kinds[:3] != ["WordPiece", NORMALISER, SPLITTER]
        or kinds[3] not in TEMPLATES
        or any(entry[name] for entry in document["added_tokens"] for name in PLAIN_MARK)
    ):
        raise InputError(
            f"the page can't follow this encoder's tokenizer ({' '.join(map(str, kinds))}): it "
            "follows BERT's word pieces, as of the encoders offline, offline-shared and bert; "
            "--runtime none makes a site that is searched from its own items"
        )
    words = sorted(model["vocab"], key=model["vocab"].__getitem__)
    if [model["vocab"][word] for word in words] != list(range(len(words))):
        raise InputError("the tokenizer's words aren't numbered from 0 without gaps")
    strips = normaliser["strip_accents"]
    start, end = read_marks(template)
    return {
        "words": words,
        "unknown": model["vocab"][model["unk_token"]],
        "prefix": model["continuing_subword_prefix"],
        "longest_word": model["max_input_chars_per_word"],
        "longest": longest,
        "cleans": normaliser["clean_text"],
        "parts_chinese": normaliser["handle_chinese_chars"],
        "strips_accents": normaliser["lowercase"] if strips is None else strips,
        "lowers": normaliser["lowercase"],
        "marks": {entry["content"]: entry["id"] for entry in document["added_tokens"]},
        "start": start,
        "end": end,
        "known": dict(known),
    }


def read_marks(template: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Read the numbers that stand before and behind a text.

    Raises:
        InputError: if the template is another than mark, text, mark.
    """
    if template["type"] == "BertProcessing":
        return [template["cls"][1]], [template["sep"][1]]
    parts: Sequence[Mapping[str, Any]] = template["single"]
    place = next((place for place, part in enumerate(parts) if "Sequence" in part), None)
    marks = [part["SpecialToken"]["id"] for part in parts if "SpecialToken" in part]
    if place is None or len(marks) != len(parts) - 1:
        raise InputError("the tokenizer's template isn't marks around one text")
    numbers = [list(template["special_tokens"][mark]["ids"]) for mark in marks]
    before, behind = numbers[:place], numbers[place:]
    return list(chain(*before)), list(chain(*behind))
