"""What an image's file says of itself beside its pixels: EXIF, XMP and IPTC, and which of them has the word.

The rule: what the camera measured is EXIF's, what people wrote is XMP's, then IPTC's; keywords are those of all. A
sidecar stands above the file, because it was written later.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workers.metadata.exif import read_exif
from workers.metadata.iptc import read_iptc
from workers.metadata.moments import FIELDS, Moment, agreed, moment_at, read_moment, taken_fields
from workers.metadata.xmp import read_xmp
from workers.plain_json import clean

if TYPE_CHECKING:
    from PIL.Image import Exif

    from connector.images.decode import Iptc

WRITTEN = ("title", "description", "creator", "rating", "label", "languages", "place")
"""What people wrote."""
MEASURED = ("camera", "lens", "exposure", "location", "altitude")
"""What the camera measured."""
EMBEDDED = (*FIELDS, *MEASURED, *WRITTEN, "tags")
"""The payload's fields that come of metadata."""


def read_embedded(exif: "Exif", *, xmp: bytes | str | None, iptc: "Iptc | None") -> dict[str, Any]:
    """The values of ``MEASURED``, ``WRITTEN``, ``tags``, and ``moment``, those that are there. Raises nothing."""
    camera, program, news = read_exif(exif), read_xmp(xmp), read_iptc(iptc)
    found = {name: camera[name] for name in MEASURED if name in camera}
    found = {**{name: program[name] for name in MEASURED if name in program}, **found}
    for source in (camera, news, program):
        found |= {name: source[name] for name in WRITTEN if name in source}
    moment = agreed(camera.get("moment"), read_moment(program.get("taken")) or read_moment(news.get("taken")))
    tags = [*dict.fromkeys([*program.get("tags", ()), *news.get("tags", ()), *camera.get("tags", ())])]
    return {**found, **({"moment": moment} if moment else {}), **({"tags": tags} if tags else {})}


def metadata_fields(embedded: Mapping[str, Any], sidecars: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the payload that metadata decide, plain JSON.

    ``sidecars`` may hold the same names, ``taken`` as text and ``instant`` in seconds since 1970.
    """
    given = {**embedded, **sidecars}
    fields = {name: given[name] for name in EMBEDDED if name in given}
    fields["tags"] = [*dict.fromkeys([*sidecars.get("tags", ()), *embedded.get("tags", ())])]
    location = fields.get("location")
    if location is not None and "place" not in fields:
        from connector.places.gazetteer import names_at  # 5 MB, and only for images that have a place

        fields["place"] = names_at(location["lat"], location["lon"])
    moment: Moment | None = embedded.get("moment")
    if "instant" in sidecars:
        instant = datetime.fromtimestamp(sidecars["instant"], UTC)
        moment = moment_at(instant, camera=moment, location=location)
    moment = agreed(read_moment(sidecars.get("taken")), moment)
    cleaned: dict[str, Any] = clean({**fields, **taken_fields(moment, location=location)})
    return {name: value for name, value in cleaned.items() if value not in (None, [], {})}
