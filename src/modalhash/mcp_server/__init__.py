"""A server of the Model Context Protocol: tools with which assistants search indexes.

What it offers is in docs/mcp.md. `arguments` says what each tool takes, `calls` carries calls out
with the engine of the HTTP service, `short_documents` keeps answers short, `protocol` hands them to
the official SDK, `stdio` and `http_app` are the two ways in which a client connects.
"""

from modalhash.mcp_server.running import serve_over_http, serve_over_stdio

__all__ = ["serve_over_http", "serve_over_stdio"]
