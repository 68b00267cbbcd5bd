"""The web application: TensorFlow Serving's REST protocol, a page, health and metrics, over the models of a store."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tl_keras.errors import InputError
from tl_keras.serving import documented, statuses
from tl_keras.serving.addresses import Address, parse_get, parse_post
from tl_keras.serving.answering import Answering
from tl_keras.serving.json_answers import error_answer
from tl_keras.serving.limits import Limits, Load
from tl_keras.serving.metrics import Metrics
from tl_keras.serving.refusals import Refused
from tl_keras.serving.replies import Parting, json_reply
from tl_keras.serving.store import Store

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
FILES = {path.name: TYPES[path.suffix] for path in sorted(PAGE.iterdir()) if path.suffix in TYPES}
PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def build(store: Store, limits: Limits | None = None) -> FastAPI:
    """The application of a store, to be run by uvicorn or mounted elsewhere.

    Args:
        store: may be empty, and may be looking for models while requests come.
        limits: what requests may take.

    >>> app = build(Store(Path("saved_models")))
    """
    app = FastAPI(title="tl-keras", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    service = _Service(store, limits or Limits())
    app.openapi = lambda: documented.document(app.version)  # type: ignore[method-assign]
    app.add_api_route("/v1/models", service.models, methods=["GET"], include_in_schema=False)
    app.router.add_route("/v1/models", _not_allowed("GET"), methods=METHODS)
    app.router.add_route("/v1/{rest:path}", service.of_model, methods=METHODS)
    app.add_api_route("/healthz", service.health, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/metrics", service.metrics_page, methods=["GET"], include_in_schema=False)
    app.add_api_route("/", _page("index.html"), methods=["GET", "HEAD"], include_in_schema=False)
    for name in FILES:
        app.add_api_route(f"/page/{name}", _page(name), methods=["GET", "HEAD"], include_in_schema=False)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failure)
    return app


class _Service:
    """The endpoints, and what they share."""

    def __init__(self, store: Store, limits: Limits):
        self.store, self.limits = store, limits
        self.load = Load(limits)
        self.answering = Answering(self.load)
        self.metrics = Metrics(store)

    async def health(self) -> Response:
        if not self.store.ready:
            return json_reply({"error": "the models are being loaded; ask again"}, 503)
        return json_reply({"status": "ok"})

    async def metrics_page(self) -> Response:
        return Response(self.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self) -> Response:
        return json_reply(statuses.models(self.store))

    async def of_model(self, request: Request) -> Response:
        """All that has a model's name in its path."""
        started, address = time.perf_counter(), Address("", None, None, "")
        try:
            address = _address(request)
            reply = await (self._told(address) if request.method == "GET" else self._answered(address, request))
        except InputError as error:
            reply = Response(error_answer(str(error)), 400, media_type="application/json")
        except Refused as refused:
            kind = Parting if refused.status in (408, 413) else Response
            reply = kind(error_answer(str(refused)), refused.status, refused.headers, "application/json")
        except ClientDisconnect:
            reply = Response(status_code=400)  # nobody reads it
        except Exception:
            reply = _failed()
        self.metrics.answered(address.model, address.verb or "status", reply.status_code, time.perf_counter() - started)
        return reply

    async def _told(self, address: Address) -> Response:
        if address.verb == "metadata":
            with self.store.hold(address) as version:
                return json_reply(statuses.metadata(address.model, version))
        return json_reply(statuses.status(self.store.status(address)))

    async def _answered(self, address: Address, request: Request) -> Response:
        answer = getattr(self.answering, address.verb)
        with self.store.hold(address) as version, self.load.held() as body, self.load.room(1):
            content = await body.read(request)
            try:
                async with asyncio.timeout(self.limits.waiting):
                    return Response(await answer(version, content), media_type="application/json")
            except TimeoutError:
                raise Refused(
                    429, f"the server did not answer within {self.limits.waiting:g} seconds; try again later"
                ) from None


def _address(request: Request) -> Address:
    """What the path names, as it was sent."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    path = raw.decode("latin-1").removeprefix(request.scope.get("root_path", ""))
    parsers = {"GET": parse_get, "POST": parse_post}
    for method, parse in parsers.items():
        if method != request.method:
            try:
                parse(path)
            except InputError:
                continue
            raise Refused(
                405, f"Malformed request: {request.method} {path[:200]}: expected {method}", {"allow": method}
            )
    if request.method not in parsers:
        raise Refused(404, f"Not found: {path[:200]}")
    try:
        return parsers[request.method](path)
    except InputError as error:
        raise InputError(f"Malformed request: {request.method} {error}") from None


def _not_allowed(allowed: str):
    async def refuse(request: Request) -> Response:
        return json_reply(
            {"error": f"Malformed request: {request.method} {request.url.path}: expected {allowed}"}, 405,
            {"allow": allowed},
        )  # fmt: skip

    return refuse


def _page(name: str):
    async def read() -> Response:
        try:
            content = (PAGE / name).read_bytes()
        except OSError:
            raise HTTPException(404) from None
        return Response(content, headers=PAGE_HEADERS, media_type=FILES[name])

    return read


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return json_reply(
        {"error": f"{error.detail}: {request.method} {request.url.path[:200]}"}, error.status_code, error.headers
    )


async def _failure(request: Request, error: Exception) -> Response:
    return json_reply({"error": "the server failed"}, 500)


def _failed() -> Response:
    """A mistake of the server's own: its log says which, the client need not know."""
    traceback.print_exc(file=sys.stderr)
    return json_reply({"error": "the server failed; its log says why"}, 500)
