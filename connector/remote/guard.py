"""Which addresses may be connected to, and connections that lead nowhere else.

The one rule: a name is resolved here, the address is checked, and that very address is connected to; so neither a
redirect nor a name that changes its address in between leads inside.
"""

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any, Literal, TypeAlias

import httpcore

from connector.settings import WebSettings

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_deadline: ContextVar[float] = ContextVar("_deadline")


class AddressRefused(Exception):
    """A name that leads nowhere, or to no address that may be connected to."""

    def __init__(self, message: str, *, reason: Literal["bad_address", "refused_address"]) -> None:
        super().__init__(message)
        self.reason: Literal["bad_address", "refused_address"] = reason


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Hold all waits of this thread's connections, together, to so many seconds."""
    mark = _deadline.set(monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(mark)


def is_public(address: _Address) -> bool:
    """Whether an address belongs to the open internet, also where an IPv4 address is embedded in an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not (address.is_multicast or address.is_reserved)
    embedded = _embedded_ipv4(address)
    if embedded is not None:
        return is_public(embedded)
    return address in _GLOBAL_UNICAST and address.is_global and not address.is_multicast


_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a mapped, compatible, 6to4, Teredo or NAT64 address stands for."""
    if address in _NAT64 or address in _COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def resolve(host: str, *, port: int, settings: WebSettings) -> list[str]:
    """The addresses of ``host`` that may be connected to. Raises AddressRefused where there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefused(f"the name {host!r} cannot be resolved: {error}", reason="bad_address") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if _is_allowed(ipaddress.ip_address(address), settings)]
    if not allowed:
        raise AddressRefused(
            f"{host!r} leads to {', '.join(addresses)}, which is not public. "
            "If images there are meant to be fetched, name the network in web.allow_networks.",
            reason="refused_address",
        )
    return allowed


def _is_allowed(address: _Address, settings: WebSettings) -> bool:
    return (
        settings.allow_private or is_public(address) or any(address in network for network in settings.allow_networks)
    )


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only, and holds every wait to the deadline of the request."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the addresses of the name one after the other."""
        failure: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in resolve(host, port=port, settings=self._settings):
            try:
                stream = self._inner.connect_tcp(address, port, _remaining(timeout), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        assert failure is not None, host
        raise failure


class _Stream(httpcore.NetworkStream):
    """A connection on which no wait outlasts the deadline, however slowly the other side drips."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _remaining(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _remaining(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _remaining(timeout: float | None) -> float | None:
    """The shorter of a wait and what is left of the request's time. Raises ReadTimeout when nothing is."""
    end = _deadline.get(None)
    if end is None:
        return timeout
    remaining = end - monotonic()
    if remaining <= 0:
        raise httpcore.ReadTimeout("the time for this image is up")
    return remaining if timeout is None else min(remaining, timeout)
