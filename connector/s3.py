"""A client for S3, or for a store that speaks its language, as the settings ask; its calls raise what boto3 raises."""

from typing import TYPE_CHECKING, Literal

import boto3
import botocore.exceptions as botocore
from botocore import UNSIGNED
from botocore.config import Config

from connector.errors import ConfigError
from connector.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def open_session(settings: S3Settings) -> boto3.Session:
    """Where keys and region come from. Raises ConfigError for a profile that is not configured."""
    try:
        return boto3.Session(profile_name=settings.profile, region_name=settings.region)
    except botocore.ProfileNotFound as error:
        known = ", ".join(boto3.Session().available_profiles) or "none"
        raise ConfigError(f"s3.profile {settings.profile!r} is not configured; known profiles: {known}.") from error


def open_client(session: boto3.Session, settings: S3Settings, *, connections: int) -> "S3Client":
    """A client for at most ``connections`` requests at once. Raises ConfigError for settings that cannot be used."""
    # Other vendors' stores stumble over the checksums that boto3 asks of AWS by default.
    checksums: Literal["when_supported", "when_required"] = (
        "when_supported" if settings.endpoint_url is None else "when_required"
    )
    config = Config(
        signature_version=UNSIGNED if settings.anonymous else None,
        max_pool_connections=connections,
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"total_max_attempts": settings.attempts, "mode": settings.retry_mode},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
        s3={"addressing_style": settings.addressing},
    )
    try:
        return session.client("s3", config=config, endpoint_url=settings.endpoint_url)
    except (botocore.BotoCoreError, ValueError) as error:
        raise ConfigError(f"the S3 settings cannot be used: {error}. Check s3.endpoint_url and s3.region.") from error
