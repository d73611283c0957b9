"""Carry codes to other systems and from other programs: the verbs `export_codes`, `import_codes`.

One file a target (`faiss_file`, `pgvector`, `milvus_rows`, `elasticsearch`, `opensearch`, `qdrant`,
`usearch_file`, `npy`); `forms` spells codes as these systems do, for queries.
"""

from modalhash.bridges.exporting import ExportedCodes, export_codes
from modalhash.bridges.forms import bit_strings, hex_strings, sign_vectors, signed_bytes
from modalhash.bridges.importing import import_codes
from modalhash.bridges.targets import TARGETS

__all__ = [
    "TARGETS",
    "ExportedCodes",
    "bit_strings",
    "export_codes",
    "hex_strings",
    "import_codes",
    "sign_vectors",
    "signed_bytes",
]
