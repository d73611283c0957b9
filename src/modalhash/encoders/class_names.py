"""The names of ImageNet's 1,000 classes, sentences on them, and captions made of them."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

__all__ = ["ClassName", "class_sentence", "make_captions", "read_class_names"]

NAMES_FILE = "class_names.tsv"
PATTERNS = (
    "a man with {one} next to {other}",
    "a woman and a child with {one}",
    "people with {one} near {other}",
    "{one} and {other}",
    "{one} in the street",
    "two of these outside: {one}",
    "a boy holding {one}",
    "a group of people by {one}",
    "{one} standing in the grass",
    "a girl wearing something red near {one}",
    "{one} on the beach by the water",
    "{one} in the snow",
)
N_CAPTIONS, CAPTIONS_SEED = 600, 0


@dataclass(frozen=True)
class ClassName:
    """One class of ImageNet.

    Attributes:
        id: of its synset in WordNet 3.0, such as "n02085620".
        name: its first name there ("Chihuahua").
        kind: the everyday kind of thing it is ("toy dog"); "" if only abstract ones are known.
    """

    id: str
    name: str
    kind: str


@cache
def read_class_names() -> tuple[ClassName, ...]:
    """Read the 1,000 classes, in the order of a classifier's outputs.

    Example:
        >>> read_class_names()[151]
        ClassName(id='n02085620', name='Chihuahua', kind='toy dog')
    """
    text = (files("modalhash.encoders") / NAMES_FILE).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(ClassName(*line.split("\t")) for line in lines[1:])


def class_sentence(class_name: ClassName) -> str:
    """Write the sentence on a class that a text encoder reads.

    Its kind tells apart what has one name, such as the two cranes.

    Example:
        >>> class_sentence(ClassName("n03126707", "crane", "lifting device"))
        'a photo of a crane, a lifting device'
    """
    sentence = f"a photo of {add_article(class_name.name)}"
    return f"{sentence}, {add_article(class_name.kind)}" if class_name.kind else sentence


def add_article(noun: str) -> str:
    """Put the article before a noun, chosen by its first letter.

    Example:
        >>> add_article("ostrich"), add_article("tench")
        ('an ostrich', 'a tench')
    """
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def make_captions() -> list[str]:
    """Make 600 captions of two class names each; their mean stands for what all captions share.

    Example:
        >>> captions = make_captions()
        >>> len(captions), captions[4].endswith("in the street")
        (600, True)
    """
    nouns = [add_article(entry.name) for entry in read_class_names()]
    drawn = np.random.default_rng(CAPTIONS_SEED).integers(0, len(nouns), (N_CAPTIONS, 2))
    return [
        PATTERNS[place % len(PATTERNS)].format(one=nouns[first], other=nouns[second])
        for place, (first, second) in enumerate(drawn)
    ]
