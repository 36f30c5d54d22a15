"""The settings an application needs: frozen sections, read once at the entry point and passed down by section.

Order: flag or argument > environment (``POLYGLANCE_QDRANT__URL``) > ``polyglance.toml`` in the working folder
> default.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from connector.errors import ConfigError
from connector.qdrant.schema import FieldType

PREFIX = "POLYGLANCE_"
CONFIG_FILE = Path("polyglance.toml")
TEST_PREFIX = "POLYGLANCE_TEST_"
"""Names under this prefix belong to the test suite and are not settings."""


MetaField = Annotated[str, Field(pattern=r"^[\w.-]+$")]
"""A metadata key that can be indexed and stands in a filter without quotes."""


Key = Annotated[SecretStr, Field(min_length=8)]
"""A key of the service: what is shorter can be guessed."""


class Section(BaseModel):
    """A frozen group of settings; an unknown name in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class QdrantSettings(Section):
    """Where the vectors live. Without ``url``, the engine runs inside this process and keeps its data in ``path``."""

    url: str | None = None
    """Address of a Qdrant server or cluster, such as http://localhost:6333; none means the embedded engine."""
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
    path: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("polyglance")) / "qdrant"
    )
    """Data folder of the embedded engine."""
    collection: str | None = Field(default=None, pattern=r"^\w[\w.-]{0,199}$")
    """Name of the collection; by default it is named after the space: pictures-SPACE."""
    meta_fields: dict[MetaField, FieldType] = Field(default_factory=dict)
    """The user's own metadata that filters may use, such as {"price": "float"}; indexed as meta.price."""


class ModelSettings(Section):
    """Which embedding space, and how its towers run."""

    space: str = "clip-vit-b-32"
    """Name of the embedding space; see connector.spaces.catalog."""
    image_model: str | None = None
    """Name or local folder of the image tower, in place of the space's own."""
    text_model: str | None = None
    """Name or local folder of the text tower, in place of the space's own."""
    text_tower: str = "multilingual"
    """Which of the space's text towers speaks: multilingual, english or xlm-roberta-large in clip-vit-b-32."""
    text_runtime: Literal["auto", "torch", "onnx"] = "auto"
    """What runs the text tower on a CPU; auto takes ONNX Runtime (extra onnx) where that gains and holds."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Arithmetic of the towers; auto takes bfloat16 where the processor has it and a check at load passes. int8 (extra
    onnx) is for pictures on a CPU, and refused where it changes the vectors."""
    batch_size: int = Field(default=0, ge=0, le=4096)
    """Pictures in one forward pass; 0 means 16 on a CPU, and on a GPU what proves quickest within its memory."""
    compiling: Literal["auto", "on", "off"] = "auto"
    """Whether ingestion compiles the image tower; auto does on a GPU, where that proves quicker."""


class LimitsSettings(Section):
    """What one picture may cost, for ingestion and for queries."""

    max_pixels: int = Field(default=120_000_000, ge=1)
    """Width times height above which a picture is not decoded."""
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


class ServeSettings(Section):
    """The service that answers over HTTP and hands out pictures."""

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
    open_thumbnails: bool = True
    """Whether thumbnails are handed out without a key, as Qdrant's dashboard needs them."""
    open_to_all: bool = False
    """Whether the service may listen beyond this machine without keys, behind a proxy that asks for them."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the REST interface, such as ["https://app.example.org"]."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Size of a request above which it is refused."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Seconds until an answer must begin."""
    queue: int = Field(default=256, ge=1, le=100_000)
    """Questions that may wait for the model; one more is asked to come again."""
    batch: int = Field(default=64, ge=1, le=1024)
    """Texts of different requests in one pass through the model; 1 means each alone."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that answer; more than one needs a Qdrant server."""
    thumbnail_px: int = Field(default=320, ge=16, le=2048)
    """Longer side of a thumbnail."""
    thumbnail_cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Bytes of thumbnails kept in memory."""
    thumbnail_folder: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("polyglance")) / "thumbnails"
    )
    """Folder where thumbnails are kept over restarts."""
    thumbnail_disk_bytes: int = Field(default=512 * 1024 * 1024, ge=0)
    """Bytes of thumbnails kept in that folder, the longest unused given up first; 0 keeps none."""


class Settings(BaseSettings):
    """The tree as an application sees it; ``workers.settings.Settings`` adds the sections of ingestion."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
        use_attribute_docstrings=True,
    )
    foreign_sections: ClassVar[frozenset[str]] = frozenset({"ingest", "table", "watch"})
    """Sections that ``workers`` owns: an application ignores them."""

    qdrant: QdrantSettings = Field(default_factory=QdrantSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    web: WebSettings = Field(default_factory=WebSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)

    @classmethod
    def load(cls, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read the settings once; ``overrides`` maps dotted names to values and beats every other source.

        What belongs to ``foreign_sections`` is left alone, wherever it stands. Raises ConfigError for an unknown
        name (naming the nearest known one) or a value that does not fit.
        """
        check_environment_names(known=set(cls.names()), foreign=cls.foreign_sections)
        try:
            tree = nest(overrides or {})
            own: Any = {section: values for section, values in tree.items() if section not in cls.foreign_sections}
            return cls(**own)
        except ValidationError as error:
            raise ConfigError(_explain(error, known=list(cls.names()), secret=cls.secrets())) from error
        except ValueError as error:
            raise ConfigError(f"{CONFIG_FILE} or a {PREFIX}… variable cannot be read: {error}") from error

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
        sections = ((section, field.annotation) for section, field in cls.model_fields.items())
        return {
            f"{section}.{name}"
            for section, kind in sections
            if isinstance(kind, type) and issubclass(kind, Section)
            for name, field in kind.model_fields.items()
            if _holds_secret(field.annotation)
        }

    @property
    def collection(self) -> str:
        """The collection's name, the default filled in."""
        return self.qdrant.collection or f"pictures-{self.model.space}"

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
        return init_settings, env_settings, _KnownSections(settings_cls, foreign=cls.foreign_sections)

    @classmethod
    def origins(cls, overrides: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Where each setting's value comes from: flag, the variable's name, the file's name, or default."""
        sources: list[tuple[str, PydanticBaseSettingsSource]] = [
            ("flag", InitSettingsSource(cls, nest(overrides or {}))),
            ("environment", EnvSettingsSource(cls)),
            (str(CONFIG_FILE), _KnownSections(cls, foreign=cls.foreign_sections)),
        ]
        values = [(label, source()) for label, source in sources]
        found = {}
        for name in cls.names():
            section, key = name.split(".")
            label = next((label for label, tree in values if key in (tree.get(section) or {})), "default")
            found[name] = variable_of(name) if label == "environment" else label
        return found


class _KnownSections(TomlConfigSettingsSource):
    """``polyglance.toml`` without the sections that belong to someone else."""

    def __init__(self, settings_cls: type[BaseSettings], *, foreign: frozenset[str]) -> None:
        self._foreign = foreign
        super().__init__(settings_cls, toml_file=CONFIG_FILE)

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if name not in self._foreign}


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_holds_secret, get_args(annotation)))


def variable_of(name: str) -> str:
    """The environment variable of a setting: ``qdrant.url`` -> ``POLYGLANCE_QDRANT__URL``."""
    return PREFIX + name.upper().replace(".", "__")


def nest(overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Turn ``{"qdrant.url": x}`` into ``{"qdrant": {"url": x}}``."""
    tree: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        section, _, key = name.partition(".")
        tree.setdefault(section, {})[key] = value
    return tree


def check_environment_names(*, known: set[str], foreign: frozenset[str]) -> None:
    """Refuse a ``POLYGLANCE_…`` variable that is no setting. Raises ConfigError naming the nearest one."""
    variables = {variable_of(name) for name in known}
    others = tuple(f"{PREFIX}{name.upper()}__" for name in foreign)
    for variable in sorted(os.environ):
        if not variable.startswith(PREFIX) or variable.startswith((TEST_PREFIX, *others)):
            continue
        if variable.upper() in variables or variable.upper().startswith(f"{PREFIX}QDRANT__META_FIELDS__"):
            continue
        ours = [each.removeprefix(PREFIX) for each in sorted(variables)]
        raise ConfigError(
            f"{variable} is not a setting. {_nearest(variable.removeprefix(PREFIX), ours, prefix=PREFIX)}"
        )


def _nearest(name: str, known: list[str], *, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"The nearest one is {prefix}{close[0]}." if close else "`polyglance settings` lists them all."


def _explain(error: ValidationError, *, known: list[str], secret: set[str]) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name} is not a setting. {_nearest(name, known)}")
        else:
            seen = "" if name in secret or name.rpartition(".")[0] in secret else f" = {problem['input']!r}"
            lines.append(f"setting {name}{seen} does not fit: {problem['msg']}.")
    return "\n".join(lines)
