"""A migration from end to end, for the command and for programs: one at a time, its rejects kept in a file.

The rule: the collection itself says how far a migration is; the file beside its runs only names what was not embedded.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from connector.errors import RunIncomplete
from connector.extras import require
from connector.files import private_folder, replacing
from connector.models.answering import check_space
from connector.models.catalog import find_space, fingerprint_of
from connector.run_status import runs_of
from connector.settings import ModelSettings, Settings
from connector.store.open import open_engine
from connector.sums import with_sum, without_sum
from workers.migrate.steps import begin, check_target, mark_complete
from workers.records import Reject

if TYPE_CHECKING:
    from workers.migrate.fill import Filled, From, OnProgress


def migrate(
    settings: Settings,
    *,
    to: str,
    rate: float = 0.0,
    first: "From" = "sources",
    on_progress: "OnProgress | None" = None,
) -> "Filled":
    """Give every image of a collection its vector in the space ``to`` too; the space that answers goes on answering.

    ``rate`` bounds the images a second, 0 does not. A call that was stopped goes on when it is given again; rejects
    are tried again then. Raises ConfigError, CollectionMismatch, ModelError, StoreError, and RunIncomplete where
    another migration of this collection is under way on this machine.
    """
    require("serve", what="migrate")  # whose readers of originals these are
    wanted = find_space(to)
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine, _alone(settings):
        schema = engine.info().schema
        ours = fingerprint_of(find_space(settings.model.space))
        check_space(ours, schema=schema, collection=engine.collection)
        check_target(schema, to=wanted.name, collection=engine.collection)
        from connector.models.image_tower import ImageTower  # loads torch
        from workers.migrate.fill import Filling

        tower = ImageTower.load(_model_of(settings.model, space=to))
        second = begin(engine, to=to, fingerprint=tower.fingerprint, model=settings.model)
        filling = Filling(engine, tower=tower, settings=settings, rate=rate, first=first)
        try:
            done = filling.run(on_progress=on_progress or (lambda _: None))
        finally:
            keep_rejects(settings, space=wanted.name, rejects=filling.so_far().rejects.values())
        if not done.stopped:
            if engine.capabilities.in_process and (done.written or not second.complete):
                engine.optimize()  # the new vectors have no graph yet; a server builds its own
            mark_complete(engine)
        return done


def keep_rejects(settings: Settings, *, space: str, rejects: Iterable[Reject]) -> None:
    """Write down which images have no vector of a space, and why, in place of what stood there."""
    path = _rejects_file(settings, space=space)
    told = [{"uri": each.uri, "stage": each.stage, "reason": each.reason, "detail": each.detail} for each in rejects]
    with replacing(path) as draft:
        draft.write_bytes(with_sum({"space": space, "rejects": told}))


def kept_rejects(settings: Settings, *, space: str) -> list[Reject]:
    """The images that the last migration to a space could not embed, as far as this machine knows."""
    try:
        kept = without_sum(_rejects_file(settings, space=space).read_bytes())["rejects"]
        return [Reject(**each) for each in kept]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def forget_rejects(settings: Settings, *, space: str) -> None:
    """Remove what was written down of a migration."""
    _rejects_file(settings, space=space).unlink(missing_ok=True)


def _rejects_file(settings: Settings, *, space: str) -> Path:
    return runs_of(settings.qdrant, collection=settings.collection) / f"migration-{space}.json"


def _model_of(model: ModelSettings, *, space: str) -> ModelSettings:
    """The settings of a space's models; what names other models is of the settings' own space."""
    return model.model_copy(update={"space": space, "image_model": None, "text_model": None})


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Keep other migrations of this collection out, as far as this machine goes. Raises RunIncomplete."""
    top = runs_of(settings.qdrant, collection=settings.collection)
    private_folder(top)
    lock = FileLock(top / "migration.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunIncomplete(
            f"another migration of collection {settings.collection!r} is under way. Wait for it: `polyglance migrate "
            "status` shows how far it is."
        ) from error
    try:
        yield
    finally:
        lock.release()
