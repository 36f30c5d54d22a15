"""How S3 is reached: keys, region, certificates, time limits and addressing, for boto3 and obstore alike."""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import boto3
import botocore.session
from botocore import UNSIGNED, exceptions
from botocore.config import Config

from connector.errors import ConfigError
from connector.printable import mask_credentials
from connector.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def open_session(settings: S3Settings) -> boto3.Session:
    """Where keys and region come from. Raises ConfigError for a profile that is not configured."""
    try:
        return boto3.Session(profile_name=settings.profile, region_name=settings.region)
    except exceptions.ProfileNotFound as error:
        known = ", ".join(boto3.Session().available_profiles) or "none"
        raise ConfigError(f"s3.profile {settings.profile!r} is not configured; known profiles: {known}.") from error


def certificates_of(settings: S3Settings) -> Path | None:
    """The file of certificates to trust: ``s3.ca_file``, else what boto3 would take (AWS_CA_BUNDLE, ``ca_bundle``).

    Raises ConfigError for a file that holds none.
    """
    name, path = "s3.ca_file", settings.ca_file
    if path is None:
        bundle = botocore.session.Session(profile=settings.profile).get_config_variable("ca_bundle")
        if not bundle:
            return None
        name, path = "AWS_CA_BUNDLE", Path(bundle)
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{name} = {str(path)!r} holds no PEM certificates: {error}.") from error
    return path


def open_client(session: boto3.Session, settings: S3Settings, *, connections: int) -> "S3Client":
    """A client for at most ``connections`` requests at once. Raises ConfigError for settings that cannot be used."""
    # Other vendors' stores stumble over the checksums that boto3 asks of AWS by default.
    checksums: Literal["when_supported", "when_required"] = (
        "when_supported" if settings.endpoint_url is None else "when_required"
    )
    trusted = certificates_of(settings)
    config = Config(
        signature_version=UNSIGNED if settings.anonymous else None,
        max_pool_connections=connections,
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"total_max_attempts": 1, "mode": "standard"},  # s3_retries sends again
        request_checksum_calculation=checksums,
        response_checksum_validation="when_required",  # of whole objects, where they are asked for
        s3={"addressing_style": settings.addressing},
    )
    try:
        return session.client(
            "s3", config=config, endpoint_url=settings.endpoint_url, verify=str(trusted) if trusted else None
        )
    except (exceptions.BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"the S3 settings cannot be used: {mask_credentials(str(error))}. Check s3.endpoint_url and s3.region."
        ) from error
