"""The routes that write: images are added through the pipeline of ingestion, and removed.

The one rule: an image's id, or its content, identifies it, so that every request may be sent again. One request is
worked on at a time; whoever comes meanwhile waits, and too many are asked to come again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Annotated

from fastapi import File, Form, Query, UploadFile
from pydantic import TypeAdapter

from connector.errors import InvalidQuery, OriginalMissing
from connector.printable import printable
from connector.records import StoredPoint
from connector.search.client import ImageSearch
from connector.search.options import shown
from connector.service.admission import AdmissionQueue, Slot
from connector.service.keys import Keys
from connector.service.questions import AS_FILE, parsed
from connector.service.roots import Roots
from workers.collection.client import TOGETHER, Added, Collection
from workers.records import Reject, id_of_identity
from workers.service.answers import (
    MOST,
    AddAnswer,
    AddedImage,
    AddressesRequest,
    AddressRequest,
    DeleteAnswer,
    DeleteRequest,
    ImageOptions,
    RejectReason,
    UploadOptions,
)
from workers.service.uploads import Kept, Uploads

_SCHEMES = ("http://", "https://", "s3://", "file:///")
"""What an address in a request begins with; a bare path would be one of the service's machine."""


class Writing:
    """Adds images to one collection, and removes them."""

    def __init__(
        self,
        collection: Collection,
        *,
        search: ImageSearch,
        uploads: Uploads,
        roots: Roots,
        queue: AdmissionQueue,
        keys: Keys,
    ) -> None:
        self._collection = collection
        self._search = search
        self._uploads = uploads
        self._roots = roots
        self._queue = queue
        self._keys = keys

    async def add(
        self,
        file: Annotated[
            list[UploadFile],
            File(description=f"The images' files, {MOST} at most.", json_schema_extra={"items": AS_FILE}),
        ],
        options: Annotated[
            str, Form(examples=['{"images": [{"id": "sku-1", "meta": {"album": "Norderney"}}]}'])
        ] = "{}",
    ) -> AddAnswer:
        """Add the images that are sent along, or replace those of the same id; they can be found when this answers.

        ``options`` is JSON with ``id`` and ``meta`` for each, in their order. Each image has its own outcome.
        """
        wanted = parsed(TypeAdapter(UploadOptions), options).images
        if len(file) > MOST:
            raise InvalidQuery(f"{len(file)} images were sent; {MOST} are taken at a time.")
        if wanted is not None and len(wanted) != len(file):
            raise InvalidQuery(
                f"options.images has {len(wanted)} entries for {len(file)} images; one for each is wanted."
            )
        files = [(each.filename or "image", await each.read()) for each in file]
        return await self._queue.run(partial(self._add_files, files, wanted or [ImageOptions() for _ in files]))

    async def add_addresses(self, request: AddressesRequest) -> AddAnswer:
        """Add images by their addresses, or replace those of the same id; they can be found when this answers.

        Addresses that are not public are refused, as are files and buckets that the service may not read.
        """
        return await self._queue.run(partial(self._add_addresses, request.images))

    async def delete(self, request: Annotated[DeleteRequest, Query()]) -> DeleteAnswer:
        """Remove the images of these ids, or all that match; ids that are not there are ignored. It cannot be undone.

        Files that were sent to the service go as well, no others.
        """
        if (request.ids is None) == (request.where is None):
            raise InvalidQuery("name what to remove: either ids, or where.")
        return DeleteAnswer(deleted=await self._queue.run(partial(self._delete, request)))

    def _add_files(self, files: Sequence[tuple[str, bytes]], wanted: Sequence[ImageOptions], _: Slot) -> AddAnswer:
        _refuse_twice(wanted)
        self._search.info()  # a collection that was deleted is not made again
        kept: list[Kept] = []
        before: list[StoredPoint] = []
        ids: dict[str, int] = {}
        try:
            for (name, data), about in zip(files, wanted, strict=True):
                kept.append(self._uploads.keep(data, name=name))
                ids.setdefault(about.id or f"upload:{kept[-1].digest}", len(kept) - 1)
            before = self._collection.get_many([*map(id_of_identity, ids)])
            added = self._collection.add(
                [kept[each].path for each in ids.values()],
                meta=[wanted[each].meta for each in ids.values()],
                id=[*ids],
            )
        finally:
            self._drop_unused([each.path.as_uri() for each in kept if each.new] + [each.uri for each in before])
        outcomes = dict(zip(ids, self._outcomes(added), strict=True))
        answers = []
        for number, (each, about) in enumerate(zip(kept, wanted, strict=True)):
            identity = about.id or f"upload:{each.digest}"
            outcome = outcomes[identity]
            again = ids[identity] != number and outcome.id is not None
            answers.append(outcome.model_copy(update={"status": "unchanged"}) if again else outcome)
        return AddAnswer(images=answers)

    def _add_addresses(self, images: Sequence[AddressRequest], _: Slot) -> AddAnswer:
        _refuse_twice(images)
        self._search.info()
        refused = {number: reject for number, each in enumerate(images) if (reject := self._refusal(each.uri))}
        taken = [each for number, each in enumerate(images) if number not in refused]
        added = self._collection.add(
            [each.uri for each in taken], meta=[each.meta for each in taken], id=[each.id for each in taken]
        )
        outcomes = self._outcomes(added)
        return AddAnswer(images=[refused.get(number) or next(outcomes) for number in range(len(images))])

    def _delete(self, request: DeleteRequest, slot: Slot) -> int:
        self._search.info()
        found: Iterator[StoredPoint] = (
            iter(self._collection.get_many(request.ids))
            if request.ids is not None
            else self._search.each(where=request.where, fields=["uri"])
        )
        deleted = 0
        while some := [*islice(found, TOGETHER)]:
            slot.check()
            deleted += self._collection.delete([each.id for each in some])
            self._drop_unused([each.uri for each in some])
        return deleted

    def _outcomes(self, added: Added) -> Iterator[AddedImage]:
        rejects = iter(added.rejects)
        for id, status in zip(added.ids, added.statuses, strict=True):
            if id is None:
                yield _rejected(next(rejects))
            else:
                yield AddedImage(id=id, status=status, **self._keys.addresses(id))

    def _refusal(self, uri: str) -> AddedImage | None:
        """The outcome of an address that the service may not read, None for one that it may."""
        reason, detail = "bad_address", f"an address begins with {', '.join(_SCHEMES)}."
        if uri.startswith(_SCHEMES):
            try:
                self._roots.check(uri)
                return None
            except OriginalMissing:
                reason, detail = (
                    "refused_address",
                    "this lies outside serve.roots and what was ingested on this machine.",
                )
        return _rejected(Reject(uri, stage="list", reason=reason, detail=detail))

    def _drop_unused(self, uris: Iterable[str]) -> None:
        """Remove files that were sent, where no point names them any more."""
        from qdrant_client import models  # here: it takes a second to import

        for uri in {*filter(self._uploads.has, uris)}:
            named = models.Filter(must=[models.FieldCondition(key="uri", match=models.MatchValue(value=uri))])
            if not self._search.count(where=named):
                self._uploads.remove(uri)


def _rejected(reject: Reject) -> AddedImage:
    reason = RejectReason(stage=reject.stage, reason=reject.reason, detail=printable(reject.detail))
    return AddedImage(id=None, status="rejected", reject=reason)


def _refuse_twice(images: Sequence[ImageOptions]) -> None:
    often = Counter(each.id for each in images if each.id is not None).most_common(1)
    if often and often[0][1] > 1:
        raise InvalidQuery(f"the id {shown(often[0][0])} is given {often[0][1]} times; each image has its own.")
