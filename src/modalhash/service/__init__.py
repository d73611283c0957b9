"""The HTTP server: an API under `/v1`, and the search page.

What it answers is in docs/service.md. The parts, in the order a request meets them: `request_gate`
checks it, a file of routes reads it, `queries` turns it into what an index is asked, `engine` does
the work in threads, `documents` writes the answer. `hosting` keeps the indexes.
"""

from modalhash.service.index_names import parse_index_arguments
from modalhash.service.keys import ApiKey, KeyFile, Role
from modalhash.service.server import log_to_stderr, serve
from modalhash.service.settings import ServiceSettings, read_settings

__all__ = [
    "ApiKey",
    "KeyFile",
    "Role",
    "ServiceSettings",
    "log_to_stderr",
    "parse_index_arguments",
    "read_settings",
    "serve",
]
