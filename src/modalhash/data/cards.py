"""Cards of the public data sets: what they hold, under which terms, and what goes wrong with them.

A card says what we know; what we don't know it says we don't. Counts are those that the papers use,
so `modalhash data check` compares with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from modalhash.data.collection import Collection
from modalhash.data.protocols import family_of
from modalhash.errors import UnknownNameError

__all__ = ["CARDS", "DatasetCard", "Expected", "card_named", "card_of"]

UNKNOWN: Final = "unknown to us"


@dataclass(frozen=True)
class Expected:
    """What a collection of a data set should hold; empty where it isn't known.

    Attributes:
        items: numbers of items in circulation.
        texts: numbers of texts.
        labels: numbers of labels.
        splits: split name to its number of items, where the data set has official splits.
    """

    items: tuple[int, ...] = ()
    texts: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    splits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetCard:
    """What there is to know about a data set before using it.

    Attributes:
        name: of the card.
        title: the data set's full name.
        about: what it holds.
        expected: source (or family, see `family_of`) to what it should hold.
        layouts: how to write it on the command line, each with what it reads.
        terms: licence or terms of use.
        where: where to get it.
        checksums: file to SHA-256, of those that are published.
        protocols: names of the protocols that papers use on it.
        traps: what goes wrong.
        citation: the paper that introduced it.
    """

    name: str
    title: str
    about: str
    expected: Mapping[str, Expected]
    layouts: Mapping[str, str]
    terms: str
    where: str
    protocols: tuple[str, ...]
    traps: tuple[str, ...]
    citation: str
    checksums: Mapping[str, str] = field(default_factory=dict)


CARDS: Final[Mapping[str, DatasetCard]] = {
    card.name: card
    for card in (
        DatasetCard(
            "mirflickr",
            "MIRFlickr-25K",
            "25,000 Flickr photos with the tags of their users and 24 labels. The papers use the "
            "20,015 that have a label and a tag that occurs at least 20 times; their text is a bag "
            "of 1,386 such tags.",
            {
                "mirflickr": Expected((20015,), (20015,), (24,)),
                "mirflickr-all": Expected((), (), (24,)),
            },
            {
                "mirflickr:PATH": "photos, meta/tags and annotations, filtered as the papers do",
                "mirflickr-all:PATH": "the same, every photo with a label and a tag",
                "vtm-uch:PATH": "VTM-UCH's lists of 20,015 names, labels and tags, beside photos",
                "iall-yall-lall:PATH, ucch:PATH, nine-array:PATH, ucmfh:PATH": "features",
            },
            "Each photo has the Creative Commons licence its photographer chose; meta/license "
            "names it.",
            "press.liacs.nl/mirflickr",
            ("djsrh", "cagan", "dcmh", "dchmt", "ucch", "vtm-uch"),
            (
                (
                    "Two sizes are in use: 20,015 (frequent tags) and about 24,600 (all that have "
                    "a label); their numbers can't be compared."
                ),
                (
                    "24 labels are the 'potential' ones; dog_r1.txt and 13 others hold the "
                    "stricter 'relevant' ones, which the papers don't use."
                ),
                "Picture and tag files are counted from 1, rows of feature files from 0.",
                "Random codes reach a MAP of about 0.55: labels are shared by many photos.",
                "DJSRH's draw was never seeded, so its split can't be had again.",
            ),
            "M. J. Huiskes, M. S. Lew: The MIR Flickr Retrieval Evaluation. ACM MIR 2008.",
        ),
        DatasetCard(
            "nuswide",
            "NUS-WIDE",
            "269,648 Flickr photos with tags and 81 concepts that people checked. The papers use "
            "the 10 or 21 most frequent concepts; the text is a bag of 1,000 tags.",
            {
                "nuswide-10": Expected((186577, 186557), (186577, 186557), (10,)),
                "nuswide-21": Expected((195834,), (195834,), (21,)),
            },
            {
                "nuswide-10:PATH": "list, ground truth, tags and photos; 10 concepts",
                "nuswide-21:PATH": "the same; 21 concepts",
                "iall-yall-lall:PATH, ucch:PATH, nine-array:PATH, ucmfh:PATH": "features",
            },
            "The photos belong to their photographers on Flickr; the authors give lists and "
            "annotations for research.",
            "The Lab for Media Search of the National University of Singapore; the photos must be "
            "fetched by their URLs, of which many are gone.",
            ("djsrh", "cagan", "dcmh", "dchmt", "ucch", "vtm-uch"),
            (
                (
                    "Two label sets: 10 concepts (about 186,600 pairs) and 21 (190,000 to 196,000, "
                    "by how photos without a frequent tag are treated)."
                ),
                "Imagelist.txt has backslashes, and its order is that of the label files.",
                "A paper prints 186,557 pairs for 10 concepts where the files hold 186,577.",
                "Some bags of words are all zero.",
            ),
            "T.-S. Chua, J. Tang, R. Hong, H. Li, Z. Luo, Y. Zheng: NUS-WIDE: A Real-World Web "
            "Image Database from National University of Singapore. ACM CIVR 2009.",
        ),
        DatasetCard(
            "coco",
            "Microsoft COCO",
            "Photos with five captions each and the outlines of objects of 80 kinds, which serve "
            "as labels. Training and validation part together: 123,287 photos, 122,218 of them "
            "with an object.",
            {
                "coco": Expected((122218,), (), (80,)),
                "coco-122k": Expected((122218,), (122218,), (80,)),
                "coco-87k": Expected((87081,), (87081,), (91,)),
            },
            {
                "coco:PATH, coco-2014:PATH, coco-2017:PATH": "annotations and photos",
                "coco-122k:PATH": "UCCH's features: 4,096-d images, 300-d Doc2Vec texts",
                "coco-87k:PATH": "4,096-d images, 2,000-d bags of words, 91 label columns",
                "ucmfh:PATH, nine-array:PATH, three-file:PATH": "features or lists",
            },
            "Annotations CC BY 4.0; the photos are under Flickr's terms of use.",
            "cocodataset.org",
            ("dcmh", "dchmt", "ucch", "djsrh", "cagan"),
            (
                "Two sizes: 87,081 pairs with 91 label columns, and 122,218 with 80.",
                "2014 and 2017 are the same photos, divided differently.",
                "Category ids have gaps (1 to 90 for 80 kinds): 91 columns are ids, not kinds.",
                "The indices in COCO.mat are counted from 1, and LAll lies on its side.",
                "Official train and val are not how the papers divide it: choose a protocol.",
            ),
            "T.-Y. Lin et al.: Microsoft COCO: Common Objects in Context. ECCV 2014.",
        ),
        DatasetCard(
            "iapr",
            "IAPR TC-12",
            "20,000 photos of travels, sports, people and cities with a description in sentences; "
            "its segmented version SAIAPR names the regions, which serve as labels. The papers' "
            "text is a bag of 2,912 words.",
            {"iapr": Expected((20000,), (20000,), (255, 291))},
            {
                "iapr:PATH": "photos, descriptions and SAIAPR's labels.txt",
                "ucch:PATH": "iapr-tc12-rand.mat, features in two parts",
            },
            f"{UNKNOWN.capitalize()}; see the notes of the archive.",
            "imageclef.org/photodata",
            ("dcmh", "dchmt", "ucch"),
            (
                (
                    "Label sets of 255 and of 291 are in use; which regions were merged is "
                    f"{UNKNOWN}, so labels read from SAIAPR may be of another number."
                ),
                "The descriptions are Latin-1, and some are no well-formed XML.",
            ),
            "M. Grubinger, P. Clough, H. Müller, T. Deselaers: The IAPR TC-12 Benchmark. "
            "OntoImage 2006. H. J. Escalante et al.: The segmented and annotated IAPR TC-12 "
            "benchmark. CVIU 2010.",
        ),
        DatasetCard(
            "wiki",
            "Wikipedia featured articles",
            "2,866 sections of articles with a picture, in 10 classes: 128-d SIFT words of the "
            "picture and 10-d topics of the text.",
            {
                "wiki": Expected((2866,), (2866,), (10,), {"train": 2173, "test": 693}),
            },
            {
                "wiki:PATH": "raw_features.mat with its lists, or wiki.npz",
                "dgcpn:PATH": "DGCPN's arrays and index files",
            },
            UNKNOWN.capitalize(),
            "www.svcl.ucsd.edu/projects/crossmodal",
            ("official", "djsrh", "wiki-dgcpn"),
            (
                "The classes in the lists are counted from 1.",
                "Training items are the database too.",
                "One class an item: shared-label relevance is class equality.",
            ),
            "N. Rasiwasia et al.: A New Approach to Cross-Modal Multimedia Retrieval. "
            "ACM Multimedia 2010.",
        ),
        DatasetCard(
            "flickr8k",
            "Flickr8k",
            "8,000 photos of people and dogs doing things, five captions each; no labels, so "
            "results are measured by pair.",
            {
                "flickr8k": Expected(
                    (8000, 8091), (40000, 40455), (), {"train": 6000, "dev": 1000, "test": 1000}
                ),
            },
            {"flickr8k:PATH": "dataset_flickr8k.json, or Flickr8k.token.txt with its lists"},
            "For research; the photos belong to their photographers on Flickr.",
            "The authors' request form is gone; copies are in circulation. Karpathy's JSON: "
            "cs.stanford.edu/people/karpathy/deepimagesent",
            ("official",),
            (
                "The token file captions 2258277193_586949ec62.jpg.1, which is no photo.",
                "91 captioned photos are in none of the three lists.",
                "The photos' folder is spelt Flicker8k_Dataset.",
            ),
            "M. Hodosh, P. Young, J. Hockenmaier: Framing Image Description as a Ranking Task. "
            "JAIR 47, 2013.",
        ),
        DatasetCard(
            "flickr30k",
            "Flickr30k",
            "31,783 photos with five captions each; no labels. Karpathy's splits have 31,014.",
            {
                "flickr30k": Expected(
                    (31014, 31783),
                    (155070, 158915),
                    (),
                    {"train": 29000, "dev": 1014, "test": 1000},
                ),
            },
            {"flickr30k:PATH": "dataset_flickr30k.json, or results_20130124.token with lists"},
            "For research; the photos belong to their photographers on Flickr.",
            "shannon.cs.illinois.edu/DenotationGraph; Karpathy's JSON: "
            "cs.stanford.edu/people/karpathy/deepimagesent",
            ("official",),
            (
                "Recall is usually that of 1,000 test photos with 5,000 captions, by pair.",
                "Lists of names lack the suffix .jpg.",
            ),
            "P. Young, A. Lai, M. Hodosh, J. Hockenmaier: From image descriptions to visual "
            "denotations. TACL 2, 2014.",
        ),
        DatasetCard(
            "rsicd",
            "RSICD",
            "10,921 satellite pictures of 224 x 224 with five captions each, of 30 kinds of "
            "scenes.",
            {
                "rsicd": Expected(
                    (10921,), (54605,), (30,), {"train": 8734, "dev": 1094, "test": 1093}
                ),
            },
            {"rsicd:PATH": "dataset_rsicd.json, RSICD_images and txtclasses_rsicd"},
            UNKNOWN.capitalize(),
            "github.com/201528014227051/RSICD_optimal",
            ("official",),
            (
                "Many of the five captions are the same sentence, repeated to make five.",
                "Without txtclasses_rsicd there are no labels.",
            ),
            "X. Lu, B. Wang, X. Zheng, X. Li: Exploring Models and Data for Remote Sensing Image "
            "Caption Generation. IEEE TGRS 2018.",
        ),
        DatasetCard(
            "ucm",
            "UCM captions",
            "2,100 aerial pictures of 256 x 256 (UC Merced land use, 21 kinds) with five captions "
            "each.",
            {
                "ucm": Expected((2100,), (10500,), (), {"train": 1680, "dev": 210, "test": 210}),
            },
            {"ucm:PATH": "dataset_ucm.json (or dataset.json) and imgs"},
            f"Pictures of the U.S. Geological Survey; terms of the captions {UNKNOWN}.",
            "github.com/201528014227051/RSICD_optimal",
            ("official",),
            (
                (
                    "The pictures are TIFF files; they are read, but a browser doesn't show them: "
                    "`modalhash data convert` makes PNG files."
                ),
                "Several captions of a picture are the same sentence.",
                "The JSON doesn't name the 21 kinds, so there are no labels.",
            ),
            "B. Qu, X. Li, D. Tao, X. Lu: Deep semantic understanding of high resolution remote "
            "sensing image. CITS 2016.",
        ),
        DatasetCard(
            "msrvtt",
            "MSR-VTT",
            "10,000 video clips with twenty captions each, of 20 categories.",
            {
                "msrvtt": Expected(
                    (10000,), (200000,), (20,), {"train": 6513, "dev": 497, "test": 2990}
                ),
            },
            {"msrvtt:PATH": "MSRVTT_data.json with frames/VIDEO/*.jpg or features/VIDEO.npy"},
            "For research; the clips come from a video site and belong to their makers.",
            "The site of the challenge is gone; copies are in circulation.",
            ("official",),
            (
                (
                    "Videos are not decoded: give frames (one a second, say), or features of "
                    "frames, whose mean is the pooled feature and which are the tokens."
                ),
                "'1k-A' (9,000 train, 1,000 test) is another split than the official one.",
            ),
            "J. Xu, T. Mei, T. Yao, Y. Rui: MSR-VTT: A Large Video Description Dataset for "
            "Bridging Video and Language. CVPR 2016.",
        ),
        DatasetCard(
            "msvd",
            "MSVD (Microsoft Research Video Description)",
            "1,970 short clips with about 40 English captions each.",
            {"msvd": Expected((1970,), (), (), {"train": 1200, "dev": 100, "test": 670})},
            {"msvd:PATH": "AllVideoDescriptions.txt, lists, and frames/ or features/"},
            "The clips come from a video site and belong to their makers.",
            "www.cs.utexas.edu/users/ml/clamp/videoDescription",
            ("official",),
            ("Videos are not decoded: give frames or features, as for MSR-VTT.",),
            "D. Chen, W. Dolan: Collecting Highly Parallel Data for Paraphrase Evaluation. "
            "ACL 2011.",
        ),
    )
}
"""Name to card."""


def card_named(name: str) -> DatasetCard:
    """Return the card of a name or of a source ("nuswide", "nuswide-21", "nuswide-21:PATH").

    Raises:
        UnknownNameError: if there is none, listing those there are.

    Example:
        >>> card_named("nuswide-21").title
        'NUS-WIDE'
    """
    name = name.partition(":")[0]
    for card in CARDS.values():
        if name == card.name or name in card.expected:
            return card
    raise UnknownNameError("data set card", name, CARDS)


def card_of(collection: Collection) -> tuple[DatasetCard, Expected] | None:
    """Return the card of a collection and what it should hold; None if it is no known data set.

    Its source says which it is, or else its name or number of labels, as for protocols.
    """
    source = collection.source.partition(":")[0]
    for key in (source, collection.name, family_of(collection)):
        for card in CARDS.values():
            if key in card.expected:
                return card, card.expected[key]
    return None
