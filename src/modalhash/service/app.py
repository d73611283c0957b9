"""The application: routes, what goes before them, and what starts and ends with them."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

import modalhash
from modalhash.search.hub_indexes import find_index_folder
from modalhash.service.change_routes import make_change_routes
from modalhash.service.encode_routes import make_encode_routes
from modalhash.service.hosting import Host
from modalhash.service.index_names import parse_picture_folders
from modalhash.service.info_routes import make_info_routes
from modalhash.service.openapi import DescribedApp
from modalhash.service.page_routes import make_operation_routes, make_page_routes
from modalhash.service.picture_routes import make_picture_routes
from modalhash.service.problems import refuse_problems
from modalhash.service.refusals import RefusedError
from modalhash.service.request_gate import RequestGate
from modalhash.service.search_routes import make_search_routes
from modalhash.service.settings import ServiceSettings
from modalhash.service.state import Service
from modalhash.service.video_routes import make_video_routes

__all__ = ["add_request_gate", "create_app", "create_service", "run_service"]

logger = logging.getLogger("modalhash.service")

CODES = {
    HTTPStatus.NOT_FOUND: ("not_found", "there is nothing at this address"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "this address takes other methods"),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("unsupported_media_type", "this body isn't read here"),
}
MALFORMED = ("malformed_request", "the request can't be read")
OWN_HEADERS = ("Authorization", "Content-Type", "X-API-Key", "X-Request-ID")
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


def create_app(folders: Mapping[str, Path], settings: ServiceSettings | None = None) -> FastAPI:
    """Create the application that answers for some indexes; they are opened now.

    Args:
        folders: of the indexes, by name.
        settings: of the server.

    Raises:
        InputError: if there is no index, or no file of keys.
        ModalhashError: if an index can't be opened, or its encoder can't be had.
    """
    settings = settings or ServiceSettings()
    service = create_service(folders, settings)
    app = DescribedApp(
        title="modalhash",
        summary="Search pictures by words and texts by pictures, with short binary codes.",
        version=modalhash.__version__,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(make_search_routes(service))
    app.include_router(make_encode_routes(service))
    app.include_router(make_info_routes(service))
    app.include_router(make_picture_routes(service))
    app.include_router(make_video_routes(service))
    app.include_router(make_change_routes(service))
    app.include_router(make_operation_routes(service))
    if settings.page:
        app.include_router(make_page_routes())
    add_request_gate(app, service)
    return app


def create_service(folders: Mapping[str, Path], settings: ServiceSettings) -> Service:
    """Open the indexes of a server, and create what its requests share.

    Args:
        folders: of the indexes, by name; one on a hub is fetched.
        settings: of the server.

    Raises:
        InputError: if there is no index, or no file of keys.
        ModalhashError: if an index can't be opened or fetched, or its encoder can't be had.
    """
    host = Host(
        {name: find_index_folder(folder) for name, folder in folders.items()},
        device=settings.device,
        pictures=parse_picture_folders(settings.pictures),
        shows_paths=settings.show_paths,
    )
    return Service(host, settings)


def add_request_gate(app: FastAPI, service: Service, *, headers: Sequence[str] = ()) -> None:
    """Put the checks of every request around an application, and the form of its errors.

    Args:
        app: the application.
        service: of the server.
        headers: that pages of other sites may send besides ours, where some may ask at all.
    """
    app.add_exception_handler(HTTPException, refuse_http)
    app.add_exception_handler(RequestValidationError, refuse_invalid)
    app.add_middleware(RequestGate, service=service)
    if service.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.origins),
            allow_methods=["GET", "POST", "PUT"],
            allow_headers=[*OWN_HEADERS, *headers],
            expose_headers=["Retry-After", "Server-Timing", "X-Request-ID"],
        )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the service of an application while the application runs."""
    async with run_service(app.state.service):
        yield


@asynccontextmanager
async def run_service(service: Service) -> AsyncIterator[None]:
    """Watch the folders while the server runs; at the end, finish what was accepted."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def begin_reload() -> None:
        task = loop.create_task(service.reload_all())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    with suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGHUP, begin_reload)  # only in the main thread, on Unix
    watching = loop.create_task(service.watch()) if service.settings.watch else None
    try:
        yield
    finally:
        service.is_stopping = True
        if watching is not None:
            watching.cancel()
        await service.engine.finish()
        service.host.close()


async def refuse_http(request: Request, error: Exception) -> Response:
    """Give an error of the framework our form."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    allow = None
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        allow = ", ".join(find_methods(request))
    raise RefusedError(status, *CODES.get(status, MALFORMED), allow=allow) from None


def find_methods(request: Request) -> list[str]:
    """Find the methods that a request's address takes."""
    routes: list[BaseRoute] = request.app.routes
    methods = [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL
               for route in routes)
    ]  # fmt: skip
    return ["GET", "HEAD", *methods[1:]] if methods[:1] == ["GET"] else methods


async def refuse_invalid(_: Request, error: Exception) -> Response:
    """Say in a sentence what is wrong with an address."""
    assert isinstance(error, RequestValidationError)
    raise refuse_problems(error.errors()) from None
