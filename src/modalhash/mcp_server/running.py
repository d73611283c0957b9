"""Run a server for assistants, over standard input and output or over HTTP."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modalhash.extras import import_optional
from modalhash.service.server import require_packages, serve_app
from modalhash.service.settings import ServiceSettings

if TYPE_CHECKING:
    from modalhash.mcp_server.calls import ToolCalls

__all__ = ["serve_over_http", "serve_over_stdio"]

logger = logging.getLogger("modalhash.service")

EXTRA: Final = "mcp"


def serve_over_stdio(
    folders: Mapping[str, Path], settings: ServiceSettings, *, query_folders: Sequence[str] = ()
) -> None:
    """Answer the program that started this process, until it leaves or a signal says to stop.

    Args:
        folders: of the indexes, by name.
        settings: of the server; its address and keys don't count here.
        query_folders: in which the client may name pictures to search for.

    Raises:
        InputError: if there is no index, or a folder isn't there.
        MissingExtraError: if the extra `mcp` isn't installed.
        ModalhashError: if an index can't be opened.
    """
    calls = open_calls(folders, settings, query_folders)
    from modalhash.mcp_server.protocol import make_protocol_server
    from modalhash.mcp_server.stdio import run_on_stdio

    logger.info("serving %s on standard input and output", ", ".join(folders))
    asyncio.run(run_on_stdio(make_protocol_server(calls), grace=settings.grace))
    logger.info("stopped")


def serve_over_http(folders: Mapping[str, Path], settings: ServiceSettings) -> None:
    """Answer assistants over HTTP, until a signal says to stop.

    Args:
        folders: of the indexes, by name.
        settings: of the server.

    Raises:
        InputError: if there is no index, or no file of keys.
        MissingExtraError: if the extra `mcp` isn't installed.
        ModalhashError: if an index can't be opened.
        StorageError: if the address can't be listened on.
    """
    require_protocol()
    from modalhash.mcp_server.http_app import MCP_PATH, create_protocol_app
    from modalhash.mcp_server.protocol import make_protocol_server

    def make_app() -> object:
        calls = open_calls(folders, settings)
        return create_protocol_app(calls.service, make_protocol_server(calls))

    serve_app(make_app, settings, path=MCP_PATH)


def require_protocol() -> None:
    """Check that the packages of the extra `mcp` are there.

    Raises:
        MissingExtraError: if one isn't.
    """
    import_optional("mcp", extra=EXTRA, feature="a server for assistants")
    require_packages()


def open_calls(
    folders: Mapping[str, Path], settings: ServiceSettings, query_folders: Sequence[str] = ()
) -> "ToolCalls":
    """Open indexes, and make the tools that search them."""
    require_protocol()
    from modalhash.mcp_server.calls import ToolCalls
    from modalhash.mcp_server.query_files import check_query_folders
    from modalhash.service.app import create_service

    query_places = check_query_folders(query_folders)
    return ToolCalls(create_service(folders, settings), query_places)
