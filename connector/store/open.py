"""Open the engine that the settings ask for."""

from connector.settings import QdrantSettings
from connector.store.engine import Engine


def open_engine(settings: QdrantSettings, *, collection: str) -> Engine:
    """The embedded engine in ``settings.path``, or the server at ``settings.url`` where one is set.

    The embedded engine touches no file before it is first used.
    """
    if settings.url is None:
        from connector.store.edge.engine import EmbeddedEngine

        return EmbeddedEngine.open(settings.path, collection=collection)
    from connector.store.server.engine import ServerEngine

    return ServerEngine.connect(settings, collection=collection)
