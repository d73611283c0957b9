"""The search page, and how the server is."""

import mimetypes
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from modalhash.service.answers import ERRORS, answer_with_json
from modalhash.service.metrics import METRICS_TYPE
from modalhash.service.refusals import RefusedError
from modalhash.service.request_gate import PAGE_POLICY
from modalhash.service.schemas import Status
from modalhash.service.state import Service

__all__ = ["make_operation_routes", "make_page_routes"]

PAGE = Path(__file__).parent / "page"
START = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


def make_operation_routes(service: Service) -> APIRouter:
    """Make the routes that describe how a server is."""
    routes = APIRouter(responses=ERRORS, tags=["operation"])

    @routes.get("/healthz", response_model=Status, response_model_exclude_none=True)
    async def healthz() -> Response:
        """Say that the process lives."""
        return answer_with_json({"status": "ok"})

    @routes.get("/readyz", response_model=Status)
    async def readyz() -> Response:
        """Say whether searches are answered, and how many codes each index has."""
        if service.is_stopping:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "shutting_down", "the server is shutting down", 5
            )
        counts: dict[str, int] = {}
        for (name, _), count in (await service.count_codes()).items():
            counts[name] = counts.get(name, 0) + count
        return answer_with_json({"status": "ready", "indexes": counts})

    @routes.get(
        "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
    )
    async def metrics() -> Response:
        """Give all metrics as Prometheus reads them."""
        await service.count_codes()
        service.metrics.under_way.set(service.admission.requests.used)
        content = await service.engine.convert(service.metrics.text)
        return Response(content, headers={"Content-Type": METRICS_TYPE})

    return routes


def make_page_routes() -> APIRouter:
    """Make the routes of the page: files that were there when the server began, no others."""
    routes = APIRouter(include_in_schema=False)
    files = {path.name: read_page_file(path) for path in sorted(PAGE.iterdir()) if path.is_file()}

    @routes.get("/")
    async def start(request: Request) -> Response:
        return send_file(START, request)

    @routes.get("/page/{file}")
    async def file(file: str, request: Request) -> Response:
        return send_file(file, request)

    def send_file(name: str, request: Request) -> Response:
        if name not in files:
            raise RefusedError(HTTPStatus.NOT_FOUND, "not_found", "the page has no such file")
        content, kind, tag = files[name]
        headers = {
            "ETag": tag,
            "Cache-Control": "no-cache",
            "Content-Security-Policy": PAGE_POLICY,
            "Content-Type": kind,
        }
        if tag in request.headers.get("if-none-match", ""):
            del headers["Content-Type"]
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, headers=headers)

    return routes


def read_page_file(path: Path) -> tuple[bytes, str, str]:
    """Read a file's content, its type and its tag."""
    content = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return (
        content,
        kind or "application/octet-stream",
        f'"{blake2b(content, digest_size=8).hexdigest()}"',
    )
