"""Which models go with a collection: those of the space that it answers by, whichever the settings name.

The rule: the collection says which space answers. Settings that name one it answered by before mean the same
collection; one that it never had is an error, and so is one that is still being filled.
"""

from connector.errors import CollectionMismatch, ConfigError
from connector.models.catalog import find_space
from connector.settings import ModelSettings
from connector.store.schema import CollectionSchema, Fingerprint


def check_space(wanted: Fingerprint, *, schema: CollectionSchema, collection: str) -> None:
    """Raise CollectionMismatch where a collection has never answered by this space."""
    built, second = schema.fingerprint, schema.second
    if wanted.space == built.space:
        _check_alike(wanted, built, collection=collection)
    elif wanted.space in schema.spaces:
        return
    elif second is not None and second.space == wanted.space:
        raise CollectionMismatch(
            f"space {wanted.space} is not what collection {collection!r} answers by yet: it is migrated to it, and "
            f"{built.space} answers until `polyglance migrate switch`. Name {built.space} until then."
        )
    else:
        _check_alike(wanted, built, collection=collection)


def model_in(model: ModelSettings, *, space: str, schema: CollectionSchema) -> ModelSettings:
    """The settings of the models of one of the collection's spaces. Raises ConfigError where it is not declared here.

    What ``model.image_model``, ``text_model`` and ``text_tower`` say is of the settings' own space.
    """
    if find_space(model.space).name == space:
        return model
    second = schema.second
    declared = schema.spaces.get(space) or (second.declared if second and second.space == space else space)
    try:
        find_space(declared)
    except ConfigError as error:
        raise ConfigError(
            f"the collection answers by space {space}, which is declared in {declared}: {error} Put that file there, "
            f"or name a copy of it: --space {space}.toml."
        ) from error
    kept = model.model_dump(exclude_unset=True, exclude={"space", "image_model", "text_model", "text_tower"})
    return ModelSettings(**kept, space=declared)


def _check_alike(wanted: Fingerprint, built: Fingerprint, *, collection: str) -> None:
    if differences := wanted.differences(built):
        raise CollectionMismatch(
            f"collection {collection!r} was built by space {built.space} ({built.dims} dims); the settings ask for "
            f"{wanted.space} ({wanted.dims}). What differs: {'; '.join(differences)}. Name another collection, or the "
            "space that built this one; `polyglance migrate --to` brings a collection to another space, and --recreate "
            "ingests it anew."
        )
