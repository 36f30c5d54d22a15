"""Errors on their way out: every one of ours as a status and one JSON shape, with the request's id."""

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from connector.errors import (
    CollectionMismatch,
    CollectionMissing,
    ConfigError,
    IngestError,
    InvalidQuery,
    ModelError,
    OriginalError,
    OriginalMissing,
    OriginalUnavailable,
    Overloaded,
    PolyglanceError,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from connector.service.answers import Problem, ProblemAnswer

STATUSES: Mapping[type[PolyglanceError], tuple[int, str]] = {
    InvalidQuery: (422, "invalid_query"),
    Overloaded: (429, "overloaded"),
    StoreUnavailable: (503, "store_unavailable"),
    StoreRefused: (502, "store_refused"),
    StoreFull: (507, "store_full"),
    CollectionMissing: (404, "collection_missing"),
    CollectionMismatch: (409, "collection_mismatch"),
    OriginalMissing: (404, "original_missing"),
    OriginalUnavailable: (502, "original_unavailable"),
    OriginalError: (502, "original_unavailable"),
    StoreError: (502, "store_error"),
    ModelError: (503, "model_error"),
    IngestError: (500, "ingest_failed"),
    ConfigError: (500, "config_error"),
}
"""The status and the code for each kind of error; a kind beneath another counts as that."""

_HTTP_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    416: "bad_range",
    429: "overloaded",
}


def status_of(error: PolyglanceError) -> tuple[int, str]:
    """Status and code of an error."""
    return next((found for kind, found in STATUSES.items() if isinstance(error, kind)), (500, "internal"))


def answer_errors(app: FastAPI) -> None:
    """Let the app answer every error in the one shape."""

    @app.exception_handler(PolyglanceError)
    async def ours(request: Request, error: PolyglanceError) -> JSONResponse:
        status, code = status_of(error)
        after = getattr(error, "retry_after", None)
        headers = {} if after is None else {"Retry-After": str(max(1, round(after)))}
        position = getattr(error, "position", None)
        return problem(request, status, code, str(error), headers=headers, position=position)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        message = "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors())
        return problem(request, 422, "invalid_request", message)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = _HTTP_CODES.get(error.status_code, "http_error")
        return problem(request, error.status_code, code, str(error.detail), headers=error.headers)


def problem(
    request: Request,
    status: int,
    code: str,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    position: int | None = None,
) -> JSONResponse:
    """An error in the one shape, with the request's id."""
    found = Problem(code=code, message=message, request_id=str(request.state.request_id), position=position)
    answer = ProblemAnswer(error=found).model_dump(exclude_none=True)
    return JSONResponse(answer, status_code=status, headers=dict(headers or {}))
