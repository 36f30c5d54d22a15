"""The whole settings tree of an ingestion run: what an application needs, and the sections of the workers."""

from typing import ClassVar, Literal

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
    """Pictures looked up and read at a time."""
    buffer_bytes: int = Field(default=128 * 1024 * 1024, ge=1024 * 1024)
    """Bytes of read pictures that may wait for a decoder."""
    read_timeout_s: float = Field(default=120.0, gt=0)
    """Seconds after which a read that gives no answer is given up, and its picture rejected."""
    workers: int | None = Field(default=None, ge=0, le=1024)
    """Worker processes; none means three for each GPU, or one without; 0 works in this process, without protection."""
    executor: Literal["local", "ray"] = "local"
    """Where the workers run: on this machine, or on a Ray cluster."""
    ray_address: str | None = None
    """The Ray cluster, such as ray://head:10001; none means the one that this machine belongs to, or a new one."""
    attempts: int = Field(default=2, ge=1, le=10)
    """Times a shard may kill its worker before it is halved to find the picture that does it."""
    stall_s: float = Field(default=900.0, gt=0)
    """Seconds without any progress after which a worker counts as dead."""
    runs: str | None = None
    """Folder, or s3://bucket/prefix, where runs keep their books; none means beside the embedded data."""
    shard_size: int = Field(default=10_000, ge=1, le=1_000_000)
    """Pictures in one shard, the unit of hand-out, of resume and of a run's books."""
    optimize_from: int = Field(default=10_000, ge=1)
    """Points outside the search graph from which a run builds it at its end."""
    max_prune: float = Field(default=0.2, ge=0, le=1)
    """Share of a source's points that may be removed at once because their picture is gone; above it none are."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Port on which /metrics (Prometheus) and /healthz are served while it works; 0 takes a free one."""
    metrics_host: str = "127.0.0.1"
    """Address on which they are served; beyond this machine only where everybody may see them."""
    bulk: bool = False
    """Whether a server's indexing waits for the end of the run; it is switched back on however the run ends."""
    hidden: bool = False
    """Whether files and folders whose name begins with a dot are ingested too."""


class TableSettings(Section):
    """Which columns of a CSV, JSONL or Parquet file say what."""

    path_column: str | None = None
    """Column with the picture's path or address; none means the first that has a usual name, such as url or path."""
    id_column: str | None = None
    """Column that identifies a row; a UUID in it is the point's id. None means the picture's address does."""
    metadata_columns: tuple[str, ...] | None = None
    """Columns that become metadata; none means all others."""


class WatchSettings(Section):
    """How a place is watched."""

    every_s: float = Field(default=3600.0, gt=0)
    """Seconds between two full passes, which make up for changes that nobody told."""
    settle_s: float = Field(default=2.0, ge=0)
    """Seconds without a change before those that came in are looked at."""
    idle_s: float = Field(default=10.0, ge=0)
    """Seconds without work after which the workers are sent home: the model leaves memory, and others may open the
    embedded engine."""
    sqs_url: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """Address of the SQS queue that a bucket tells its changes to."""


class Settings(connector.settings.Settings):
    """Every setting there is."""

    foreign_sections: ClassVar[frozenset[str]] = frozenset()

    ingest: IngestSettings = Field(default_factory=IngestSettings)
    watch: WatchSettings = Field(default_factory=WatchSettings)
    table: TableSettings = Field(default_factory=TableSettings)
