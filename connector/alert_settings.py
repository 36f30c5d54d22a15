"""How alerts are told of: the settings of ``workers.alerts``."""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from connector.settings_sources import Section

STANDARD = "whsec_"
"""How a key begins that the Standard Webhooks specification describes: what follows is base64."""


def key_bytes(key: SecretStr) -> bytes:
    """The bytes that a key signs with. Raises ValueError."""
    told = key.get_secret_value()
    if not told.startswith(STANDARD):
        return told.encode()
    try:
        return base64.b64decode(told.removeprefix(STANDARD), validate=True)
    except binascii.Error:
        raise ValueError(f"it begins with {STANDARD}, and what follows is no base64") from None


def _checked(key: SecretStr) -> SecretStr:
    key_bytes(key)
    return key


class AlertSettings(Section):
    """Alerts: questions that stay asked (docs/alerts.md). What a collection's alerts are stands in the collection."""

    signing_key: Annotated[SecretStr, Field(min_length=8), AfterValidator(_checked)] | None = None
    """Key that webhooks are signed with, whsec_ and base64 as the Standard Webhooks specification has it."""
    most: int = Field(default=1_000, ge=1, le=1_000_000)
    """Images that one alert tells of in one run; the others wait for the next one, and are counted."""
    local: bool = False
    """Whether alerts of a collection on a server may write files and call commands on this machine."""
    attempts: int = Field(default=3, ge=1, le=10)
    """Times that a webhook is called before it counts as down; what it was to hear waits for the next run."""
    timeout_s: float = Field(default=10.0, gt=0)
    """Seconds that a webhook or a command may take for one image."""
    wait_s: float = Field(default=30.0, ge=0)
    """Seconds that the end of a run waits for what is still to be told; the rest waits for the next one."""
