"""The application that Airflow's API server mounts: pages, API and files behind one gate."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from exp_platform.web import api, compare, experiment_page, files, pages, portfolio, static_files
from exp_platform.web.failures import failure
from exp_platform.web.gate import Gate


def build_app() -> FastAPI:
    """The application. Its own pages of documentation are off: they would be loaded from elsewhere, and open to anybody."""
    app = FastAPI(title="Experiments", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(static_files.router)
    app.include_router(api.router)
    for room in (pages, portfolio, experiment_page, compare, files):
        app.include_router(room.router)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_middleware(Gate)
    return app


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return failure(request, error.status_code)


def _misread(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return failure(request, 422, "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()))
