"""The names of the place where an image was taken: of its coordinates, unless somebody wrote them down."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from connector.settings import Settings
from connector.store.backfill import Located, locate
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.points import DIMS, points
from workers.metadata.embedded import metadata_fields
from workers.metadata.iptc import read_iptc
from workers.metadata.xmp import read_xmp

ROME = {"lat": 41.8902, "lon": 12.4922}
XMP = (
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'"
    " xmlns:photoshop='http://ns.adobe.com/photoshop/1.0/'><rdf:Description photoshop:City='Ostia'"
    " photoshop:Country='Italia'/></rdf:RDF></x:xmpmeta>"
)


def test_coordinates_are_named() -> None:
    place = metadata_fields({"location": ROME}, {})["place"]
    assert place[-3:] == ["Rome", "Lazio", "Italy"]
    assert metadata_fields({}, {"location": ROME})["place"] == place, "those of a sidecar too"
    assert "place" not in metadata_fields({"location": {"lat": 0.0, "lon": -30.0}}, {})
    assert "place" not in metadata_fields({}, {})


def test_what_somebody_wrote_is_kept() -> None:
    assert read_xmp(XMP)["place"] == ["Ostia", "Italia"]
    assert read_iptc({(2, 90): b"Ostia", (2, 101): b"Italia"})["place"] == ["Ostia", "Italia"]
    assert metadata_fields({"location": ROME, "place": ["Ostia", "Italia"]}, {})["place"] == ["Ostia", "Italia"]


def test_images_of_before_are_named_without_being_read(tmp_path: Path) -> None:
    settings = Settings.load({"model.space": "mini", "qdrant.path": str(tmp_path / "data")})
    payloads: list[dict[str, object]] = [
        {"location": ROME}, {"location": {"lat": 0.0, "lon": -30.0}}, {"location": ROME, "place": ["Ostia"]}, {},
        {"location": {"lat": "x", "lon": None}},
    ]  # fmt: skip
    with closing(open_engine(settings.qdrant, collection="photos")) as engine:
        engine.create(CollectionSchema(Fingerprint(space="mini", dims=DIMS, image_size=32)))
        made = zip(points(len(payloads)), payloads, strict=True)
        engine.upsert([replace(one, payload=payload) for one, payload in made])
        assert locate(engine) == Located(named=1, nameless=2)
        assert locate(engine) == Located(named=0, nameless=2)
        assert {each.value for each in engine.facet("place")} >= {"Rome", "Italy", "Ostia"}
