"""The steps of a migration, each one change of the collection's schema: begin, switch, roll back, drop; and the status.

    --to B ─► A answers, B is filled ─► switch ─► B answers, A stays ─► drop ─► B answers
                                           ◄─ roll back ─┘

The rule: every step is written by the store in one piece. Whoever is killed before it has changed nothing.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from connector.errors import ConfigError
from connector.models.catalog import find_space
from connector.settings import ModelSettings
from connector.store.engine import Engine
from connector.store.schema import CollectionSchema, Fingerprint, SecondSpace

if TYPE_CHECKING:
    from qdrant_client.models import Filter


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """How the spaces of a collection stand: which one answers, and of a second one how many images have its vector.

    ``role``: the second is the ``next`` space, or the ``previous`` one that was switched away from. ``unseen`` images
    have no vector of the space that answers: questions by what is seen do not find them.
    """

    collection: str
    answers: str
    points: int
    unseen: int = 0
    second: str | None = None
    role: Literal["next", "previous"] | None = None
    complete: bool = False
    vectors: int = 0

    @property
    def left(self) -> int:
        """Images without a vector of the second space."""
        return 0 if self.second is None else self.points - self.vectors


def begin(engine: Engine, *, to: str, fingerprint: Fingerprint, model: ModelSettings) -> SecondSpace:
    """Give a collection the space ``to`` beside the one that answers; where it has it, that is what is gone on with.

    ``fingerprint`` is that of the loaded image tower. Raises ConfigError, CollectionMismatch, StoreFull, StoreRefused.
    """
    schema = engine.info().schema
    check_target(schema, to=fingerprint.space, collection=engine.collection)
    if schema.second is not None:
        if differences := fingerprint.differences(schema.second.fingerprint):
            raise ConfigError(
                f"collection {engine.collection!r} is migrated to another {fingerprint.space} than this: "
                f"{'; '.join(differences)}. `polyglance migrate drop` gives that one up."
            )
        return schema.second
    here = schema.fingerprint.space
    second = SecondSpace(fingerprint, role="next", declared=_declared(to))
    ours = model.space if find_space(model.space).name == here else schema.spaces.get(here, here)
    spaces = {**schema.spaces, here: _declared(ours)}
    engine.set_spaces(replace(schema, second=second, spaces=spaces), was=schema)
    return second


def check_target(schema: CollectionSchema, *, to: str, collection: str) -> None:
    """Raise ConfigError where a collection cannot be migrated to a space of this name now."""
    second = schema.second
    if to == schema.fingerprint.space:
        raise ConfigError(f"collection {collection!r} answers by space {to} already; there is nothing to migrate.")
    if second is None or (second.space == to and second.role == "next"):
        return
    if second.role == "next":
        raise ConfigError(
            f"collection {collection!r} is being migrated to space {second.space}, and to one space at a time. Finish "
            f"that (`polyglance migrate --to {second.space}`, then switch and drop), or give it up with "
            "`polyglance migrate drop`."
        )
    raise ConfigError(
        f"collection {collection!r} still has the vectors of space {second.space}, by which it answered before. "
        f"`polyglance migrate drop` removes them; `polyglance migrate roll-back` lets {second.space} answer again."
    )


def status(engine: Engine) -> MigrationStatus:
    """How the spaces stand. Raises StoreError."""
    info = engine.info()
    here, second = info.schema.fingerprint.space, info.schema.second
    unseen = engine.count(where=without(here))
    if second is None:
        return MigrationStatus(engine.collection, answers=here, points=info.points, unseen=unseen)
    left = engine.count(where=without(second.space))
    return MigrationStatus(
        engine.collection,
        answers=here,
        points=info.points,
        unseen=unseen,
        second=second.space,
        role=second.role,
        complete=second.complete,
        vectors=max(0, info.points - left),
    )


def mark_complete(engine: Engine) -> None:
    """Say that every image that could be embedded has its vector in the second space."""
    schema = engine.info().schema
    if schema.second is not None and not schema.second.complete:
        engine.set_spaces(replace(schema, second=replace(schema.second, complete=True)), was=schema)


def switch(engine: Engine) -> MigrationStatus:
    """Let the next space answer from now on; the one before stays beside it. Raises ConfigError where it cannot yet."""
    schema = engine.info().schema
    second = _second(schema, role="next", collection=engine.collection)
    if not second.complete:
        now = status(engine)
        raise ConfigError(
            f"{now.left:,} of {now.points:,} images have no vector of space {second.space} yet. `polyglance migrate "
            f"--to {second.space}` goes on with them; then switch."
        )
    return _exchange(engine, schema, second, role="previous")


def roll_back(engine: Engine) -> MigrationStatus:
    """Let the space answer again that answered before the switch. Raises ConfigError where there is none."""
    schema = engine.info().schema
    return _exchange(engine, schema, _second(schema, role="previous", collection=engine.collection), role="next")


def drop(engine: Engine) -> str:
    """Remove every vector of the space that does not answer; its name. Raises ConfigError where there is none."""
    schema = engine.info().schema
    second = schema.second
    if second is None:
        raise ConfigError(f"collection {engine.collection!r} has the vectors of {schema.fingerprint.space} alone.")
    engine.set_spaces(replace(schema, second=None), was=schema)
    return second.space


def without(space: str) -> "Filter":
    """The images that have no vector of a space."""
    from qdrant_client import models

    return models.Filter(must_not=[models.HasVectorCondition(has_vector=space)])


def _exchange(
    engine: Engine, schema: CollectionSchema, second: SecondSpace, *, role: Literal["next", "previous"]
) -> MigrationStatus:
    here = schema.fingerprint.space
    before = SecondSpace(schema.fingerprint, role=role, declared=schema.spaces.get(here, here), complete=True)
    spaces = {**schema.spaces, second.space: second.declared}
    engine.set_spaces(replace(schema, fingerprint=second.fingerprint, second=before, spaces=spaces), was=schema)
    return status(engine)


def _second(schema: CollectionSchema, *, role: Literal["next", "previous"], collection: str) -> SecondSpace:
    second = schema.second
    if second is not None and second.role == role:
        return second
    if role == "next":
        beside = "" if second is None else f"; {second.space} answered before: `polyglance migrate roll-back`"
        raise ConfigError(
            f"collection {collection!r} answers by {schema.fingerprint.space} and is not being migrated{beside}. "
            "`polyglance migrate --to SPACE` begins."
        )
    raise ConfigError(
        f"collection {collection!r} answers by {schema.fingerprint.space} and has no vectors of a space that answered "
        "before, so there is no way back."
    )


def _declared(space: str) -> str:
    """How a space is found again from any folder: by its name, or by the path of its file."""
    return str(Path(space).expanduser().absolute()) if space.endswith(".toml") else space
