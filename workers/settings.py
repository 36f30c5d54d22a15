"""The whole settings tree of an ingestion run: what an application needs, and the sections of the workers."""

from ipaddress import IPv4Network, IPv6Network
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
    shard_size: int = Field(default=10_000, ge=1, le=1_000_000)
    """Pictures in one shard, the unit of a run's books."""
    optimize_from: int = Field(default=10_000, ge=1)
    """Points outside the search graph from which a run builds it at its end."""
    bulk: bool = False
    """Whether a server's indexing waits for the end of the run; it is switched back on however the run ends."""
    hidden: bool = False
    """Whether files and folders whose name begins with a dot are ingested too."""


class S3Settings(Section):
    """How S3, or a store that speaks its language, is reached. Keys come from where boto3 finds them."""

    endpoint_url: str | None = None
    """Address of another vendor's store, such as http://localhost:9000; none means AWS."""
    region: str | None = None
    """Region of the bucket; none means what the profile says."""
    profile: str | None = None
    """Named profile of the AWS configuration."""
    anonymous: bool = False
    """Whether requests are sent unsigned, for public buckets."""
    requester_pays: bool = False
    """Whether you agree to pay for requests to a bucket that asks for it."""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Whether the bucket stands in the path or in the host name."""
    tags: bool = False
    """Whether the tags of objects are read too, into meta.object_tags: one more request for each tagged object."""
    reader: Literal["auto", "boto3", "obstore"] = "auto"
    """What reads the objects; auto takes obstore where it is installed, for a tenth of boto3's processor time."""
    listers: int = Field(default=8, ge=1, le=64)
    """Stretches of a bucket that are listed at once."""
    retry_mode: Literal["adaptive", "standard"] = "adaptive"
    """How boto3 backs off when the store is busy; adaptive also slows down the requests that follow."""
    attempts: int = Field(default=5, ge=1, le=20)
    """Times one request is tried before it counts as failed."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds until a connection must stand."""
    read_timeout_s: float = Field(default=30.0, gt=0)
    """Seconds of silence after which an answer counts as lost."""


class WebSettings(Section):
    """How pictures are fetched from http(s) addresses."""

    allow_private: bool = False
    """Whether private, loopback and all other non-public addresses may be asked."""
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that are not public and may be asked all the same, such as ["10.1.0.0/16"]."""
    max_redirects: int = Field(default=5, ge=0, le=20)
    """Redirects followed for one picture."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Seconds one picture may take, all in all."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds until a connection must stand."""
    attempts: int = Field(default=3, ge=1, le=10)
    """Times one picture is tried when its server is busy or the connection breaks."""


class TableSettings(Section):
    """Which columns of a CSV, JSONL or Parquet file say what."""

    path_column: str | None = None
    """Column with the picture's path or address; none means the first that has a usual name, such as url or path."""
    id_column: str | None = None
    """Column that identifies a row; a UUID in it is the point's id. None means the picture's address does."""
    metadata_columns: tuple[str, ...] | None = None
    """Columns that become metadata; none means all others."""


class Settings(connector.settings.Settings):
    """Every setting there is."""

    foreign_sections: ClassVar[frozenset[str]] = frozenset()

    ingest: IngestSettings = Field(default_factory=IngestSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    web: WebSettings = Field(default_factory=WebSettings)
    table: TableSettings = Field(default_factory=TableSettings)
