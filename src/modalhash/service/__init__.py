"""The HTTP server: an API under `/v1`, and the search page.

What it answers is in docs/service.md. The parts, in the order a request meets them: `front` checks
it, a file of routes reads it, `queries` turns it into what an index is asked, `engine` does the
work in threads, `documents` writes the answer. `hosting` keeps the indexes.
"""

from modalhash.service.index_names import named_folders
from modalhash.service.keys import ApiKey, KeyFile, Role
from modalhash.service.server import log_to_stderr, serve
from modalhash.service.settings import PREFIX, ServiceSettings, read_settings

__all__ = [
    "PREFIX",
    "ApiKey",
    "KeyFile",
    "Role",
    "ServiceSettings",
    "log_to_stderr",
    "named_folders",
    "read_settings",
    "serve",
]
