"""Nodes: the servers that ``qdrant.url`` names, and which of them is asked.

The one rule: every node of a cluster answers every question, so whoever gives no answer is left for the next one, and
asked again when its turn comes round.
"""

import logging
import socket
import ssl
import threading
from dataclasses import dataclass, field

from qdrant_client import QdrantClient
from urllib3.util import Url

from connector.settings import QdrantSettings
from connector.store.server.client import describe_address, open_client, parse_addresses, port_of

log = logging.getLogger(__name__)

_HANDSHAKE_S = 2.0
"""How long a look at what a silent server speaks may take."""


@dataclass(slots=True)
class Node:
    """One server: how it is reached, and whether it ever gave an answer."""

    client: QdrantClient
    address: str
    answered: bool = False
    _url: Url = field(kw_only=True)
    _port: int = field(kw_only=True)
    _looked: bool = field(default=False, init=False)

    def tls_advice(self) -> str | None:
        """What is wrong with the address of a server that never answered, looked at once; None where nothing is."""
        if self.answered or self._looked:
            return None
        self._looked = True
        speaks = _speaks_tls(self._url.host or "", self._port)
        if self._url.scheme == "http" and speaks is True:
            return "This server speaks TLS: begin POLYGLANCE_QDRANT__URL with https://."
        if self._url.scheme == "https" and speaks is False:
            return "There is a server, but it does not speak TLS: begin POLYGLANCE_QDRANT__URL with http://."
        return None


class Nodes:
    """The servers of one cluster, one of them in use. Safe to use from many threads."""

    def __init__(self, settings: QdrantSettings) -> None:
        """Raises ConfigError where ``settings.url`` is none or holds something else than http(s) addresses."""
        self._nodes = [
            Node(
                open_client(settings, address=address),
                describe_address(settings, address=address),
                _url=address,
                _port=port_of(settings, address=address),
            )
            for address in parse_addresses(settings.url)
        ]
        self._lock = threading.Lock()
        self._place = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def __str__(self) -> str:
        return ", ".join(node.address for node in self._nodes)

    @property
    def current(self) -> Node:
        """The node in use."""
        return self._nodes[self._place]

    def leave(self, node: Node) -> None:
        """Use the next node from now on, unless another thread has left this one already."""
        with self._lock:
            if len(self._nodes) > 1 and node is self._nodes[self._place]:
                self._place = (self._place + 1) % len(self._nodes)
                log.warning("node_left address=%r next=%r", node.address, self.current.address)

    def close(self) -> None:
        """Let go of every connection."""
        for node in self._nodes:
            node.client.close()


def _speaks_tls(host: str, port: int) -> bool | None:
    """Whether a server answers a TLS handshake; None where there is none, or where it says nothing either way."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout=_HANDSHAKE_S) as connection:
            try:
                context.wrap_socket(connection, server_hostname=host).close()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return None
            except ssl.SSLError:
                return False
            return True
    except OSError:
        return None
