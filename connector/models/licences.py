"""Licences that do not allow commercial use: a space under one is loaded once somebody has accepted it.

The rule: what was accepted is noted by the licence's name and the model's, in the user's data folder.
"""

from connector.errors import ConfigError
from connector.models.declaration import Space
from connector.models.user_notes import note, noted

ACCEPTED = "accepted-licences.json"


def check_licence(space: Space) -> None:
    """Raise ConfigError where a space's licence has to be accepted and was not."""
    if not is_accepted(space):
        raise ConfigError(
            f"space {space.name} is licensed under {space.licence}, which does not allow commercial use. Accept it by "
            f"`polyglance space pull {space.given} --accept-licence`, or by accept_licence = {space.licence!r} in its "
            "file."
        )


def is_accepted(space: Space) -> bool:
    """Whether nothing has to be accepted, or it was: in the space's file, or once before."""
    return space.commercial or space.accept_licence == space.licence or _line(space) in noted(ACCEPTED)


def accept(space: Space) -> None:
    """Note that the licence of a space was accepted."""
    note(ACCEPTED, _line(space))


def _line(space: Space) -> str:
    return f"{space.licence}: {space.image.model}"
