"""What a binary code is: binarise, pack, Hamming distance.

One definition each: zero binarises to +1; bit 1 means +1; bit j of a code is bit j % 8 of byte
j // 8, counted from the low end; the padding bits of the last byte are zero.
"""

from modalhash.codes.asymmetric import (
    Queries,
    Relaxed,
    Scores,
    WeightedQueries,
    asymmetric_scores,
    weighted_distances,
)
from modalhash.codes.binarise import Signs, binarise
from modalhash.codes.bit_order import BitOrder, from_little, to_little
from modalhash.codes.graded import GradedBits
from modalhash.codes.hamming import Distances, hamming_distances, pairwise_distances
from modalhash.codes.packing import Codes, check_codes, code_width, first_bits, pack, unpack
from modalhash.codes.reading import ReadCodes, read_codes

__all__ = [
    "BitOrder",
    "Codes",
    "Distances",
    "GradedBits",
    "Queries",
    "ReadCodes",
    "Relaxed",
    "Scores",
    "Signs",
    "WeightedQueries",
    "asymmetric_scores",
    "binarise",
    "check_codes",
    "code_width",
    "first_bits",
    "from_little",
    "hamming_distances",
    "pack",
    "pairwise_distances",
    "read_codes",
    "to_little",
    "unpack",
    "weighted_distances",
]
