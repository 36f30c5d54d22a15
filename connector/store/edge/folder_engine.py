"""What holds of a collection in a folder, whichever process has it open: its name, and what a folder cannot do."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from connector.errors import ConfigError
from connector.store.edge.folder import CollectionFolder
from connector.store.engine import EMBEDDED
from connector.store.schema import CollectionSchema


class FolderEngine(ABC):
    """The part of ``connector.store.engine.Engine`` that is alike for the host and for those who ask it."""

    capabilities = EMBEDDED

    def __init__(self, folder: CollectionFolder) -> None:
        self._folder = folder

    @property
    def collection(self) -> str:
        """The collection's name."""
        return self._folder.collection

    @property
    def meeting(self) -> Path:
        """The folder in which other processes find the one that has the collection open."""
        return self._folder.meeting

    @abstractmethod
    def create(self, schema: CollectionSchema) -> None:
        """See ``Engine``."""

    @abstractmethod
    def drop(self) -> None:
        """See ``Engine``."""

    def bulk_load(self) -> AbstractContextManager[None]:
        """Nothing to put off: the search graph is built by ``optimize`` and never before."""
        return nullcontext()

    def point_alias(self, alias: str) -> None:
        """Raises ConfigError: folders have no aliases."""
        raise ConfigError(
            f"the embedded engine has no aliases, so {alias!r} cannot be one; "
            "name a server: --set qdrant.url=http://localhost:6333."
        )

    def resolved(self) -> str:
        """The collection's name: folders have no aliases."""
        return self.collection

    def recreate(self, schema: CollectionSchema) -> None:
        """An empty collection in place of what is there."""
        self.drop()
        self.create(schema)
