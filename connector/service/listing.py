"""The routes that browse the collection: its images a page at a time, how many there are, a few at random.

The one rule: no question is asked, so no model is needed; the store alone answers.
"""

from typing import Annotated

from fastapi import Query

from connector.records import StoredPoint
from connector.search.async_client import AsyncImageSearch
from connector.service.answers import (
    FilterRequest,
    ListingAnswer,
    ListingRequest,
    NumberAnswer,
    PointAnswer,
    SampleAnswer,
    SampleRequest,
)
from connector.service.keys import Keys


class Listing:
    """Shows what is in one collection."""

    def __init__(self, search: AsyncImageSearch, *, keys: Keys) -> None:
        self._search = search
        self._keys = keys

    async def page(self, request: Annotated[ListingRequest, Query()]) -> ListingAnswer:
        """A page of all images that match; ``next`` is the ``cursor`` of the following one, null at the end."""
        fields = None if request.fields is None else [*dict.fromkeys([*request.fields, "uri"])]
        found = await self._search.page(
            where=request.where, order_by=request.order_by, fields=fields, limit=request.limit, cursor=request.cursor
        )
        return ListingAnswer(
            images=[self._answer(each, fields=request.fields) for each in found.points], next=found.next
        )

    async def count(self, request: Annotated[FilterRequest, Query()]) -> NumberAnswer:
        """How many images match, exactly; all of them without ``where``."""
        return NumberAnswer(count=await self._search.count(where=request.where))

    async def sample(self, request: Annotated[SampleRequest, Query()]) -> SampleAnswer:
        """Images picked at random, others each time."""
        found = await self._search.sample(request.limit, where=request.where)
        return SampleAnswer(images=[self._answer(each, fields=None) for each in found])

    def _answer(self, stored: StoredPoint, *, fields: list[str] | None) -> PointAnswer:
        answer = PointAnswer.of(stored, addresses=self._keys.addresses)
        if fields is None:
            return answer
        payload = {name: value for name, value in answer.payload.items() if name != "uri" or name in fields}
        return answer.model_copy(update={"payload": payload, "fault": None})  # the whole of it was not looked at
