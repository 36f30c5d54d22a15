"""How a qdrant-client is opened: transport, key, TLS (by an https address), timeouts, and no retries of its own."""

import ipaddress
import logging
import math
import ssl
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from connector.errors import ConfigError
from connector.printable import mask_credentials
from connector.settings import QdrantSettings

log = logging.getLogger(__name__)

REST_PORT = 6333
"""Where Qdrant listens when an address names no port."""

_EXAMPLE = "such as http://localhost:6333"

GRPC_OPTIONS = {
    "grpc.enable_retries": 0,  # ours are the only retries
    "grpc.initial_reconnect_backoff_ms": 100,  # by default a refused channel stays shut for up to two minutes,
    "grpc.max_reconnect_backoff_ms": 500,  # whatever our own retries ask of it
    "grpc.min_reconnect_backoff_ms": 5000,  # in truth the time that one connection may take to be made
}


def open_client(settings: QdrantSettings, *, address: Url) -> QdrantClient:
    """A client for this server that has not connected yet, and never asks for the server's version on its own."""
    key = settings.api_key.get_secret_value() if settings.api_key is not None else None
    if key and address.scheme == "http" and not _is_local(address.host):
        log.warning("api_key_in_clear address=%s advice='use https'", address.netloc)
    grpc_options: dict[str, Any] = {**GRPC_OPTIONS}
    rest_options: dict[str, Any] = {}
    if settings.ca_file is not None:
        grpc_options["root_certificates"] = _read_certificates(settings.ca_file)
        rest_options["verify"] = ssl.create_default_context(cafile=settings.ca_file)
    client = QdrantClient(
        url=address.url,
        port=REST_PORT,
        grpc_port=settings.grpc_port,
        prefer_grpc=settings.transport == "grpc",
        timeout=math.ceil(settings.timeout_s),
        # not as api_key=: the client would warn once more of http, on standard error
        headers={"api-key": key} if key else None,
        grpc_options=grpc_options,
        check_compatibility=False,
        **rest_options,
    )
    if settings.transport == "grpc":  # now, not in a race of the first calls
        client.grpc_points, client.grpc_collections  # noqa: B018
    return client


def _read_certificates(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        ssl.create_default_context(cadata=content.decode("ascii"))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"qdrant.ca_file = {str(path)!r} holds no PEM certificates: {error}.") from error
    return content


def parse_addresses(url: str | None) -> list[Url]:
    """The servers that ``qdrant.url`` names, by commas. Raises ConfigError for what is none, or holds a password."""
    if url is None:
        raise ConfigError(f"POLYGLANCE_QDRANT__URL is not set: a server engine needs an address, {_EXAMPLE}.")
    return [_parse_address(part.strip()) for part in url.split(",")]


def _parse_address(url: str) -> Url:
    try:
        address = parse_url(url)
    except LocationParseError as error:
        raise ConfigError(f"qdrant.url cannot be read as an address; {_EXAMPLE} is one.") from error
    if address.auth is not None:
        raise ConfigError("qdrant.url holds a user or password: put the key into POLYGLANCE_QDRANT__API_KEY instead.")
    if address.scheme not in ("http", "https") or not address.host:
        raise ConfigError(f"qdrant.url = {mask_credentials(url)!r} is no http or https address, {_EXAMPLE}.")
    return address


def port_of(settings: QdrantSettings, *, address: Url) -> int:
    """Where calls really go: gRPC has a port of its own."""
    return settings.grpc_port if settings.transport == "grpc" else address.port or REST_PORT


def describe_address(settings: QdrantSettings, *, address: Url) -> str:
    """Where calls really go, for messages."""
    port = port_of(settings, address=address)
    return f"{address.scheme}://{address.host}:{port} ({'gRPC' if settings.transport == 'grpc' else 'REST'})"


def _is_local(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
