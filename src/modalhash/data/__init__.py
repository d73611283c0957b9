"""Collections of image-text pairs: what they are, where they come from, what is wrong with them."""

from modalhash.data.cards import CARDS, DatasetCard, card_named
from modalhash.data.collection import Collection, Frames, Modality, Pictures, Positions, TokenArrays
from modalhash.data.converting import Conversion, convert_collection
from modalhash.data.describing import CollectionSummary, describe
from modalhash.data.inspecting import Entry, Inspection, inspect_file
from modalhash.data.loading import CheckReport, check_collection, load_collection
from modalhash.data.pictures import read_picture
from modalhash.data.protocol_table import PROTOCOLS, Protocol, Sizes
from modalhash.data.protocols import apply_protocol, split_fingerprint
from modalhash.data.sources import COLLECTIONS
from modalhash.data.split_files import read_split_file, write_split_file
from modalhash.data.splits import make_splits, write_splits

__all__ = [
    "CARDS",
    "COLLECTIONS",
    "PROTOCOLS",
    "CheckReport",
    "Collection",
    "CollectionSummary",
    "Conversion",
    "DatasetCard",
    "Entry",
    "Frames",
    "Inspection",
    "Modality",
    "Pictures",
    "Positions",
    "Protocol",
    "Sizes",
    "TokenArrays",
    "apply_protocol",
    "card_named",
    "check_collection",
    "convert_collection",
    "describe",
    "inspect_file",
    "load_collection",
    "make_splits",
    "read_picture",
    "read_split_file",
    "split_fingerprint",
    "write_split_file",
    "write_splits",
]
