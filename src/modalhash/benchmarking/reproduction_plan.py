"""How a method's paper would measure it on a data set: protocol, encoder, preset, differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from modalhash.benchmarking.printed import SETTINGS, printed_protocols, protocols_of
from modalhash.benchmarking.tasks import Place, Task, Variant
from modalhash.benchmarking.variants import method_variants
from modalhash.data import (
    PROTOCOLS,
    Collection,
    Modality,
    Protocol,
    apply_protocol,
    load_collection,
)
from modalhash.data.cards import card_of
from modalhash.data.protocol_table import Rule
from modalhash.data.protocols import family_of
from modalhash.errors import FeatureError, InputError, UnknownNameError
from modalhash.methods import method_class
from modalhash.methods.base import Needs

__all__ = ["ReproductionPlan", "plan_reproduction"]

WITHOUT_TOKENS = ("bow", "precomputed")


TIES = (
    "Ties: the mean over all orders of items at one distance. The papers' programs sort them in "
    "an order of chance."
)


EXACT_DRAWS = {
    Rule.FIRST_ROWS: "the first rows, which are the program's queries if rows are in its order",
    Rule.LAST_ROWS: "the last rows, which are the paper's queries if rows are in its files' order",
    Rule.LEGACY_PERMUTATION: (
        "the program's own draw with its seed {seed}, the same items if rows are in its order"
    ),
    Rule.GIVEN_TEST_DIVIDED: "the one that comes with the data set, its test part divided",
}
"""Rules that choose the very items of a program, and how."""
EPOCHS = (
    "Epochs: none is chosen by the queries. Some of the papers' programs keep the epoch that is "
    "best on them."
)


@dataclass(frozen=True)
class ReproductionPlan:
    """What to run, and on what.

    Attributes:
        variant: the method with its preset and settings.
        place: the collection with protocol and encoder.
        family: the data set, see `family_of`.
        collection: its name.
        split_note: how it was divided.
        notes: how this differs from what papers do, a sentence or two each.
    """

    variant: Variant
    place: Place
    family: str
    collection: str
    split_note: str
    notes: tuple[str, ...]

    @property
    def protocol(self) -> Protocol:
        """The protocol."""
        return PROTOCOLS[self.place.protocol.partition(":")[0]]

    def tasks(self, bits: Sequence[int], seeds: Sequence[int]) -> list[Task]:
        """List the runs of all lengths and seeds."""
        return [Task(self.place, self.variant, n_bits, seed) for n_bits in bits for seed in seeds]


def plan_reproduction(
    method: str,
    dataset: str,
    *,
    protocol: str = "auto",
    encoder: str = "auto",
    preset: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> ReproductionPlan:
    """Find out how a method's paper would measure it on a data set.

    Args:
        method: in the table of methods.
        dataset: what `load_collection` takes.
        protocol: as for `load_collection`; "auto" is the first of the method's protocols under
            which numbers on this data set are known, else the first that divides it.
        encoder: makes the features; "auto" takes the features that came with the collection, and
            else what is nearest to the papers'.
        preset: of the method; "auto" is the one of the data set's name, else "paper", else what
            suits the features.
        settings: changes to the method's settings.

    Raises:
        UnknownNameError: if there is no such method, protocol or preset.
        CollectionError: if the data set can't be read.
        InputError: if no protocol of the method divides the data set, or it is too small for it.
        FeatureError: if the protocol or the method needs what the data set doesn't hold.
    """
    the_class = method_class(method)
    (variant,) = method_variants([method], settings=settings)
    collection = load_collection(dataset)
    family = family_of(collection)
    if protocol == "auto":
        protocol = choose_protocol(method, collection)
    divided = apply_protocol(collection, protocol)
    name = protocol.partition(":")[0]
    if collection.labels is None:
        raise FeatureError(
            f"protocol {name!r} counts what shares a label, but {collection.name} has no labels: "
            "get them with the data set, see `modalhash data card`"
        )
    if preset == "auto":
        candidates = (family, family.partition("-")[0], "paper")
        preset = next(
            (candidate for candidate in candidates if candidate in the_class.presets), "auto"
        )
    elif preset not in the_class.presets:
        raise UnknownNameError(f"preset of {method}", preset, the_class.presets)
    encoder = choose_encoder(method, collection, name, encoder)
    return ReproductionPlan(
        Variant(variant.name, method, variant.settings, preset),
        Place(dataset, encoder, "test", protocol),
        family,
        collection.name,
        divided.split_note,
        tuple(list_differences(method, collection, protocol, encoder, preset)),
    )


def choose_protocol(method: str, collection: Collection) -> str:
    """Choose the protocol to measure a method by on a collection.

    Raises:
        InputError: if the method has none, or none that divides the collection.
    """
    own, family = protocols_of(method), family_of(collection)
    if not own:
        raise InputError(
            f"no paper's protocol is known for {method!r}: name one, such as djsrh, or compare "
            "methods with `modalhash bench`"
        )
    has_splits = "test" in collection.splits and not collection.split_note.startswith("made by")
    dividing = [name for name in own if family and can_divide(PROTOCOLS[name], family, has_splits)]
    if not dividing:
        known = {data_set for name in own for data_set in PROTOCOLS[name].sizes}
        raise InputError(
            f"{method} was measured under {' and '.join(own)}, which divide "
            f"{', '.join(sorted(known))}, but {collection.name!r} is "
            f"{family or 'none of the data sets of papers'}: name a protocol with its sizes to "
            f"run there all the same, as in {own[0]}:queries=2000,train=5000"
        )
    printed = printed_protocols(method, family)
    return next((name for name in dividing if name in printed), dividing[0])


def can_divide(protocol: Protocol, family: str, has_splits: bool) -> bool:
    """Tell whether a protocol says how to divide a data set."""
    if protocol.rule is Rule.GIVEN:
        return has_splits
    return family in protocol.sizes or protocol.any_sizes is not None


def choose_encoder(method: str, collection: Collection, protocol: str, requested: str) -> str:
    """Choose the encoder; "auto" prefers features that came with the collection.

    Raises:
        FeatureError: if a side has neither content nor features, or the method needs tokens that
            it won't have.
    """
    title, needs_tokens = method_class(method).title, Needs.TOKENS in method_class(method).needs
    image, plus, text = (
        SETTINGS[protocol].encoder if requested == "auto" else requested
    ).partition("+")
    parts: dict[Modality, str] = {"image": image, "text": text if plus else image}
    if requested == "auto":
        if needs_tokens and parts["text"] == "bow":
            parts["text"] = parts["image"]
        contents: dict[Modality, object] = {
            "image": collection.pictures,
            "text": collection.captions,
        }
        for side, content in contents.items():
            if side in collection.features:
                parts[side] = "precomputed"
            elif content is None:
                raise FeatureError(
                    f"{collection.name} holds neither {side} content nor {side} features, and "
                    f"protocol {protocol!r} searches both ways: get the rest of the data set"
                )
    for side, part in parts.items():
        if needs_tokens and part in WITHOUT_TOKENS and side not in collection.tokens:
            raise FeatureError(
                f"{title} reads tokens, but the {side} side of {collection.name} is {part}, which "
                "has none: take the data set as pictures and texts, with an encoder such as "
                "offline or clip"
            )
    return name_encoder_pair(parts["image"], parts["text"])


def name_encoder_pair(image: str, text: str) -> str:
    """Name a pair of encoders; one name where both are the same."""
    return image if image == text else f"{image}+{text}"


def list_differences(
    method: str, collection: Collection, protocol: str, encoder: str, preset: str
) -> list[str]:
    """List how a run here differs from the papers, a sentence or two each."""
    name, _, stated = protocol.partition(":")
    widths = " and ".join(
        f"{array.shape[1]}-d {side} features" for side, array in collection.features.items()
    )
    brought = f" ({widths} that came with the collection)" if "precomputed" in encoder else ""
    notes = [
        f"Features: {encoder}{brought}, frozen. The papers: {SETTINGS[name].features}.",
        f"Split: {describe_draw(PROTOCOLS[name], family_of(collection))}.",
    ]
    card = card_of(collection)
    if stated:
        notes.append(f"Sizes: stated by hand ({stated}), not the papers'.")
    if card and card[1].items and collection.n_items not in card[1].items:
        papers = " or ".join(f"{count:,}" for count in card[1].items)
        notes.append(f"Items: {collection.n_items:,}; the papers' data set has {papers}.")
    if preset not in ("auto", "dense") and "dense" in method_class(method).presets:
        notes.append(
            f"Constants: those of the preset {preset}, which were chosen for the papers' features. "
            "`--preset dense` has ours for frozen ones."
        )
    return [*notes, TIES, EPOCHS, *list_own_differences(method)]


def describe_draw(protocol: Protocol, family: str) -> str:
    """Describe where the queries come from."""
    sizes = protocol.sizes.get(family)
    if protocol.rule is Rule.GIVEN or (sizes is not None and not sizes.queries):
        return "the one that comes with the data set"
    seed = protocol.seeds.get(family, protocol.seed)
    exact = EXACT_DRAWS.get(protocol.rule)
    if exact is not None:
        return exact.format(seed=seed)
    return f"drawn with the seed {seed}; the papers' draws were not seeded or published"


def list_own_differences(method: str) -> list[str]:
    """List what a method's file says about its differences from the paper."""
    text = import_module(method_class(method).__module__).__doc__ or ""
    start = "Differs from the paper: "
    return [
        f"Method: {' '.join(paragraph.removeprefix(start).split())}"
        for paragraph in text.split("\n\n")
        if paragraph.startswith(start)
    ]
