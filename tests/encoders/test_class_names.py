"""Names of ImageNet's classes: facts that are widely known of their order."""

from collections import Counter

import pytest

from modalhash.encoders.class_names import class_sentence, make_captions, read_class_names


def test_there_are_a_thousand_classes_in_the_order_of_their_ids() -> None:
    ids = [one.id for one in read_class_names()]
    assert len(ids) == 1000
    # The challenge sorts its classes by WordNet id.
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("place", "synset", "name"),
    [
        (0, "n01440764", "tench"),
        (1, "n01443537", "goldfish"),
        (207, "n02099601", "golden retriever"),
        (281, "n02123045", "tabby"),
        (388, "n02510455", "giant panda"),
        (779, "n04146614", "school bus"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_well_known_classes_stand_in_their_places(place: int, synset: str, name: str) -> None:
    class_name = read_class_names()[place]
    assert (class_name.id, class_name.name) == (synset, name)


def test_kinds_tell_classes_of_one_name_apart() -> None:
    counts = Counter(one.name for one in read_class_names())
    assert {name for name, n in counts.items() if n > 1} == {"crane", "maillot"}
    sentences = [class_sentence(one) for one in read_class_names()]
    assert len(set(sentences)) == 1000
    assert sentences[134] == "a photo of a crane, a wading bird"
    assert sentences[517] == "a photo of a crane, a lifting device"


def test_a_class_without_a_kind_has_a_sentence_too() -> None:
    assert "a photo of an altar" in [class_sentence(one) for one in read_class_names()]


def test_made_captions_are_the_same_each_time() -> None:
    assert make_captions() == make_captions()
    assert len(make_captions()) == 600
