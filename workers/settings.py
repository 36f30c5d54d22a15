"""The whole settings tree of an ingestion run: what an application needs, and the sections of the workers."""

from typing import ClassVar

from pydantic import Field

import connector.settings
from connector.settings import Section


class IngestSettings(Section):
    """How a run is spread over threads. Memory grows with these, never with the number of pictures."""

    readers: int = Field(default=4, ge=1, le=256)
    """Threads that read."""
    decoders: int = Field(default=0, ge=0, le=256)
    """Threads that decode; 0 means one for each core this process may use."""
    chunk: int = Field(default=32, ge=1, le=1024)
    """Pictures handed from stage to stage at a time."""
    queue_chunks: int = Field(default=4, ge=1, le=64)
    """Chunks that may wait between two stages."""
    hidden: bool = False
    """Whether files and folders whose name begins with a dot are ingested too."""


class Settings(connector.settings.Settings):
    """Every setting there is."""

    foreign_sections: ClassVar[frozenset[str]] = frozenset()

    ingest: IngestSettings = Field(default_factory=IngestSettings)
