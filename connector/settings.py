"""Every setting: frozen sections, read once at the entry point and passed down by section.

Order: flag or argument > environment (``POLYGLANCE_…``) > ``polyglance.toml`` (``connector.config_files``) > default.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import platformdirs
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from connector.alert_settings import AlertSettings
from connector.config_files import CONFIG_FILE, announce, check_pairs, config_files
from connector.errors import ConfigError
from connector.ocr_settings import OcrSettings
from connector.settings_sources import (
    PREFIX,
    Folder,
    Section,
    SpaceName,
    check_environment_names,
    explain,
    known_encoding,
    nest,
    secret_names,
    variable_of,
)
from connector.words.settings import WordsSettings

FieldType: TypeAlias = Literal["keyword", "integer", "float", "bool", "geo", "datetime", "text"]
"""What a payload field is indexed as."""

MetaField = Annotated[str, Field(pattern=r'^[^"\x00-\x1f\x7f]+$', max_length=200)]
"""A metadata key that can be indexed: any name without quotes, such as a table's column ``Price (USD)``."""

Key = Annotated[SecretStr, Field(min_length=8)]
"""A key of the service: what is shorter can be guessed."""


class QdrantSettings(Section):
    """Where the vectors live. Without ``url``, the engine runs inside this process and keeps its data in ``path``."""

    url: str | None = None
    """Address of a Qdrant server, several of a cluster by commas: http://localhost:6333; none: the embedded engine."""
    api_key: SecretStr | None = None
    """Key of the server."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust for an https address, where the server's is signed by an authority of your own."""
    transport: Literal["grpc", "rest"] = "grpc"
    """How to talk to the server."""
    grpc_port: int = Field(default=6334, ge=1, le=65535)
    """The server's gRPC port."""
    timeout_s: float = Field(default=10.0, gt=0)
    """Seconds one call to the server may take; rounded up to whole seconds."""
    retry_s: float = Field(default=60.0, ge=0)
    """Seconds to go on trying when the server gives no answer."""
    retry_first_s: float = Field(default=0.2, gt=0)
    """Seconds before the first new attempt; doubled from there, with jitter."""
    full_wait_s: float = Field(default=600.0, ge=0)
    """Seconds to pause, asking now and then, when the server has no room left."""
    optimize_wait_s: float = Field(default=3600.0, ge=0)
    """Seconds to wait for the server to build its search graph."""
    in_flight: int = Field(default=3, ge=1, le=32)
    """Batches of points sent to the server at the same time."""
    shards: int | None = Field(default=None, ge=1)
    """Shards of a new collection on a cluster; fixed once it is made. 12 leaves room to grow."""
    replicas: int | None = Field(default=None, ge=1)
    """Copies of each shard of a new collection on a cluster."""
    path: Folder = Field(default_factory=lambda: platformdirs.user_data_path("polyglance") / "qdrant")
    """Data folder of the embedded engine."""
    collection: str | None = Field(default=None, pattern=r"^\w[\w.-]{0,199}$")
    """Name of the collection; by default it is named after the space: images-SPACE."""
    meta_fields: dict[MetaField, FieldType] = Field(default_factory=dict)
    """The user's own metadata that filters may use, such as {"price": "float"}; indexed as meta.price."""
    linked_fields: tuple[str, ...] = ("folder", "tags", "camera")
    """Fields that a new collection is often filtered by: its search graph is linked along their values."""


class ModelSettings(Section):
    """Which embedding space, and how its towers run."""

    space: SpaceName = "clip-vit-b-32"
    """Name of the embedding space, or a file that declares one, such as ./my-space.toml; see docs/spaces.md."""
    image_model: str | None = None
    """Name or local folder of the image tower, in place of the space's own."""
    text_model: str | None = None
    """Name or local folder of the text tower, in place of the space's own."""
    text_tower: str = "multilingual"
    """Which of the space's text towers speaks: multilingual, english or xlm-roberta-large in clip-vit-b-32."""
    text_runtime: Literal["auto", "torch", "onnx"] = "auto"
    """What runs the text tower on a CPU; auto: ONNX Runtime where its files hold (extra onnx makes those of others)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Arithmetic of the towers; auto takes bfloat16 where a check passes; int8 (extra onnx) is for images on a CPU."""
    batch_size: int = Field(default=0, ge=0, le=4096)
    """Images in one forward pass; 0 means 16 on a CPU, and on a GPU what proves quickest within its memory."""
    compiling: Literal["auto", "on", "off"] = "auto"
    """Whether ingestion compiles the image tower; auto does on a GPU, where that proves quicker."""


class LimitsSettings(Section):
    """What one image may cost, for ingestion and for queries."""

    max_pixels: int = Field(default=120_000_000, ge=1)
    """Pixels that decoding an image may take memory for; a JPEG that is decoded smaller may have 16 times as many."""
    max_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """Size of a file above which it is not read."""


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
    checksums: Literal["verify", "twice", "ignore"] = "verify"
    """What is read is compared with the store's sums; twice: large tar members come twice; ignore: ETags are no MD5."""
    ca_file: Path | None = None
    """Certificates (PEM) of an authority of your own, to trust beside the system's; none means AWS_CA_BUNDLE's."""
    attempts: int = Field(default=5, ge=1, le=20)
    """Times one object is asked for while the store answers others."""
    retry_s: float = Field(default=60.0, ge=0)
    """Seconds to go on trying when the store gives no answer at all, all readers together, or wants fewer requests."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds until a connection must stand."""
    read_timeout_s: float = Field(default=30.0, gt=0)
    """Seconds of silence after which an answer counts as lost."""


class WebSettings(Section):
    """How images are fetched from http(s) addresses."""

    allow_private: bool = False
    """Whether private, loopback and all other non-public addresses may be asked."""
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that are not public and may be asked all the same, such as ["10.1.0.0/16"]."""
    max_redirects: int = Field(default=5, ge=0, le=20)
    """Redirects followed for one image."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Seconds one image may take, all in all."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds until a connection must stand."""
    attempts: int = Field(default=3, ge=1, le=10)
    """Times one image is tried when its server is busy or the connection breaks."""
    signature_params: tuple[str, ...] = ()
    """Parameters that sign an address, beside the usual ones: no part of an image's name, such as ["token", "hd-*"]."""


class ServeSettings(Section):
    """The service that answers over HTTP and hands out images."""

    public_url: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """Its address as a browser reaches it; with it, every new point carries a thumbnail_url for Qdrant's dashboard."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond this machine only with api_keys."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    api_keys: tuple[Key, ...] = ()
    """Keys that may do everything; without these and read_keys nobody need send one."""
    read_keys: tuple[Key, ...] = ()
    """Keys that may ask and look, and change nothing."""
    signing_key: Key | None = None
    """Key that addresses of images are signed with; none means one made of api_keys and read_keys."""
    open_thumbnails: bool = False
    """Whether thumbnails are handed out by their plain address, without a key or a signature."""
    open_to_all: bool = False
    """Whether the service may listen beyond this machine without keys, behind a proxy that asks for them."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, beside its own, that a service without keys is called by, such as ["photos.lan"]."""
    roots: tuple[str, ...] = ()
    """Places whose originals are handed out, beside those that ingestions wrote down on this machine."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the REST interface, such as ["https://app.example.org"]."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Size of a request above which it is refused."""
    body_bytes: int = Field(default=256 * 1024 * 1024, ge=1024)
    """Bytes of all requests' bodies that are held at once; what goes beyond is asked to come again."""
    header_timeout_s: float = Field(default=10.0, gt=0)
    """Seconds within which the headers of a request must be in."""
    half_open: int = Field(default=128, ge=1, le=100_000)
    """Connections whose request is not wholly in; one more closes the oldest of them."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Seconds until an answer must begin, the request's body included."""
    stall_timeout_s: float = Field(default=60.0, gt=0)
    """Seconds within which a caller must take a piece of its answer, 256 KiB of an original; else it is cut off."""
    queue: int = Field(default=256, ge=1, le=100_000)
    """Questions that may wait for the model; one more is asked to come again."""
    batch: int = Field(default=64, ge=1, le=1024)
    """Texts of different requests in one pass through the model; 1 means each alone."""
    decode_bytes: int = Field(default=2 * 1024**3, ge=64 * 1024**2)
    """Memory for decoding images that are sent along or shown small; one that alone needs more is refused."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that answer."""
    thumbnail_px: int = Field(default=320, ge=16, le=2048)
    """Longer side of a thumbnail."""
    thumbnail_cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Bytes of thumbnails kept in memory."""
    thumbnail_folder: Folder = Field(default_factory=lambda: platformdirs.user_cache_path("polyglance") / "thumbnails")
    """Folder where thumbnails are kept over restarts."""
    thumbnail_disk_bytes: int = Field(default=512 * 1024 * 1024, ge=0)
    """Bytes of thumbnails kept in that folder, the longest unused given up first; 0 keeps none."""
    uploads: Folder | None = None
    """Folder where images that callers send are kept; none means .uploads in qdrant.path."""
    upload_bytes: int = Field(default=10 * 1024**3, ge=0)
    """Bytes of all images kept there; beyond them none is taken."""


class IngestSettings(Section):
    """How a run is spread over threads. Memory grows with these, never with the number of images."""

    readers: int = Field(default=4, ge=1, le=256)
    """Threads that read."""
    decoders: int = Field(default=0, ge=0, le=256)
    """Threads that decode; 0 means one for each core this process may use."""
    chunk: int = Field(default=32, ge=1, le=1024)
    """Images looked up and read at a time."""
    buffer_bytes: int = Field(default=128 * 1024 * 1024, ge=1024 * 1024)
    """Bytes of read images that may wait for a decoder."""
    read_timeout_s: float = Field(default=120.0, gt=0)
    """Seconds after which a read that gives no answer is given up, and its image rejected."""
    workers: int | None = Field(default=None, ge=0, le=1024)
    """Worker processes; none means three for each GPU, or one without; 0 works in this process, without protection."""
    executor: Literal["local", "ray"] = "local"
    """Where the workers run: on this machine, or on a Ray cluster."""
    ray_address: str | None = None
    """The Ray cluster, such as ray://head:10001; none means the one that this machine belongs to, or a new one."""
    attempts: int = Field(default=2, ge=1, le=10)
    """Times a shard may kill its worker before it is halved to find the image that does it."""
    stall_s: float = Field(default=900.0, gt=0)
    """Seconds without any progress after which a worker counts as dead."""
    runs: str | None = None
    """Folder, or s3://bucket/prefix, where runs keep their files; none means beside the embedded data."""
    shard_size: int = Field(default=10_000, ge=1, le=1_000_000)
    """Images in one shard, the unit of hand-out, of resume and of a run's files."""
    optimize_from: int = Field(default=10_000, ge=1)
    """Points outside the search graph from which a run builds it at its end."""
    max_prune: float = Field(default=0.2, ge=0, le=1)
    """Share of a source's points that may be removed at once because their image is gone; above it none are."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Port on which /metrics (Prometheus) and /healthz are served while it works; 0 takes a free one."""
    metrics_host: str = "127.0.0.1"
    """Address on which they are served; beyond this machine only where everybody may see them."""
    bulk: bool = False
    """Whether a server's indexing waits for the end of the run; it is switched back on however the run ends."""
    hidden: bool = False
    """Whether files and folders whose name begins with a dot are ingested too."""
    exclude: tuple[str, ...] = ()
    """Patterns, as in .gitignore, of files and folders that are left out, such as ["drafts/", "*.tmp.jpg"]."""
    verify: Literal["version", "content", "nothing"] = "version"
    """What shows that an image is unchanged: its version, its content (reads every file), or nothing (embeds all)."""


class TableSettings(Section):
    """Which columns of a CSV, JSONL or Parquet file say what."""

    path_column: str | None = None
    """Column with the image's path or address; none means the first that has a usual name, such as url or path."""
    id_column: str | None = None
    """Column that identifies a row; a UUID in it is the point's id. None means the image's address does."""
    metadata_columns: tuple[str, ...] | None = None
    """Columns that become metadata; none means all others."""
    encoding: Annotated[str, AfterValidator(known_encoding)] | None = None
    """What a CSV, JSON Lines or text file is written in, such as latin-1; none means UTF-8, or what its mark says."""


class WatchSettings(Section):
    """How a place is watched."""

    every_s: float = Field(default=3600.0, gt=0)
    """Seconds between two full passes, which make up for changes that nobody told."""
    settle_s: float = Field(default=0.2, ge=0)
    """Seconds without a change before those that came in are looked at."""
    idle_s: float = Field(default=900.0, ge=0)
    """Seconds without work after which the workers are sent home: the model leaves memory."""
    sqs_url: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """Address of the SQS queue that a bucket tells its changes to."""


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
    )

    qdrant: QdrantSettings = Field(default_factory=QdrantSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    web: WebSettings = Field(default_factory=WebSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    table: TableSettings = Field(default_factory=TableSettings)
    watch: WatchSettings = Field(default_factory=WatchSettings)
    words: WordsSettings = Field(default_factory=WordsSettings)
    ocr: OcrSettings = Field(default_factory=OcrSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)

    @classmethod
    def load(cls, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read the settings once; ``overrides`` maps dotted names to values and beats every other source.

        Raises ConfigError for an unknown name (naming the nearest known one) or a value that does not fit.
        """
        check_environment_names(set(cls.names()))
        try:
            loaded = cls(**nest(overrides or {}))
        except ValidationError as error:
            raise ConfigError(explain(error, known=list(cls.names()), secret=cls.secrets())) from error
        except ValueError as error:
            raise ConfigError(f"{CONFIG_FILE} or a {PREFIX}… variable cannot be read: {error}") from error
        announce()
        check_pairs({name: loaded.value_of(name) for name in cls.names()}, cls.origins(overrides))
        return loaded

    def value_of(self, name: str) -> Any:
        """A setting by its dotted name."""
        return getattr(getattr(self, name.partition(".")[0]), name.partition(".")[2])

    @classmethod
    def names(cls) -> Iterator[str]:
        """Every setting by its dotted name, such as ``qdrant.url``."""
        for section, field in cls.model_fields.items():
            kind = field.annotation
            assert isinstance(kind, type), section
            assert issubclass(kind, Section), section
            yield from (f"{section}.{name}" for name in kind.model_fields)

    @classmethod
    def secrets(cls) -> set[str]:
        """The settings whose values are never shown, by dotted name."""
        return secret_names(cls.model_fields)

    @property
    def collection(self) -> str:
        """The collection's name, the default filled in."""
        return self.qdrant.collection or f"images-{Path(self.model.space).stem}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the signature is pydantic-settings')
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Our order of precedence, without .env files and secret folders."""
        return init_settings, env_settings, *(TomlConfigSettingsSource(settings_cls, file) for file in config_files())

    @classmethod
    def origins(cls, overrides: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Where each setting's value comes from: flag, the variable's name, the file's path, or default."""
        values = [
            ("flag", InitSettingsSource(cls, nest(overrides or {}))()),
            ("environment", EnvSettingsSource(cls)()),
            *((str(file), TomlConfigSettingsSource(cls, toml_file=file)()) for file in config_files()),
        ]
        found = {}
        for name in cls.names():
            section, key = name.split(".")
            label = next((label for label, tree in values if key in (tree.get(section) or {})), "default")
            found[name] = variable_of(name) if label == "environment" else label
        return found
