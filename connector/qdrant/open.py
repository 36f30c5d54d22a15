"""Open the engine that the settings ask for."""

from connector.qdrant.engine import Engine
from connector.settings import QdrantSettings


def open_engine(settings: QdrantSettings, *, collection: str) -> Engine:
    """The embedded engine in ``settings.path``, or the server at ``settings.url`` where one is set.

    The embedded engine touches no file before it is first used.
    """
    if settings.url is None:
        from connector.qdrant.embedded import EmbeddedEngine

        return EmbeddedEngine.open(settings.path, collection=collection)
    from connector.qdrant.server import ServerEngine

    return ServerEngine.connect(settings, collection=collection)
