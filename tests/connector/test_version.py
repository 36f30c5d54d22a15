"""What is stored as a version stays as it is: the literals here stand in collections that exist."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.version import Version

ETAG = "9a0364b9e99bb480dd25e1f0284c8555"
META = {"caption": "Ein Hund", "rating": 4.5, "tags": ["a", "ü"]}
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
FILE = Version.of_file(size=7, mtime_ns=1_700_000_000_123_456_789)


@pytest.mark.parametrize(
    ("made", "stored"),
    [
        (FILE, "7-1700000000123456789"),
        (FILE.with_sidecars([]), "7-1700000000123456789"),
        (
            FILE.with_sidecars(
                [Version.of_file(size=2, mtime_ns=1_700_000_000_123_456_791), Version.of_file(size=7, mtime_ns=5)]
            ),
            "7-1700000000123456789+2-1700000000123456791+7-5",
        ),
        (FILE.of_member(offset=512), "7-1700000000123456789@512"),
        (FILE.with_metadata(META), "7-1700000000123456789~c8dbc76e0f5a"),
        (FILE.with_metadata({}), "7-1700000000123456789"),
        (Version.of_object(etag=f'"{ETAG}"', size=7), f"{ETAG}-7"),
        (Version.of_object(etag=f'"{ETAG}-3"', size=7), f"{ETAG}-3-7"),
        (Version.of_object(etag='W/"x-1"', size=7), 'W/"x-1-7'),
        (Version.of_object(etag=None, size=7), "-7"),
        (Version.of_object(etag=f'"{ETAG}"', size=7).of_member(offset=1536), f"{ETAG}-7@1536"),
        (Version.of_page(etag='"abc-1"', modified=DATE, data=b"dog"), 'etag:"abc-1"'),
        (Version.of_page(etag='W/"abc+1@2"', modified=None, data=b"dog"), 'etag:W/"abc+1@2"'),
        (Version.of_page(etag=None, modified=DATE, data=b"dog"), f"modified:{DATE}"),
        (Version.of_page(etag="", modified="", data=b"dog"), "bytes:a554429c71093400717011e2bdf97353"),
        (
            Version.of_page(etag='"abc-1"', modified=None, data=b"dog").with_metadata(META),
            'etag:"abc-1"~c8dbc76e0f5a',
        ),
    ],
)
def test_a_version_is_written_as_it_always_was_and_equals_the_stored_one(made: Version, stored: str) -> None:
    assert str(made) == stored
    assert made == Version.parse(stored)
    assert hash(made) == hash(Version.parse(stored))
    assert json.dumps({"version": made}) == json.dumps({"version": stored})


@pytest.mark.parametrize("stored", [None, 7, ["7-1"], {"version": "7-1"}])
def test_what_is_no_text_is_no_version(stored: object) -> None:
    assert Version.parse(stored) is None


def test_a_version_crosses_the_border_of_a_process() -> None:
    again = pickle.loads(pickle.dumps(FILE))

    assert again == FILE
    assert type(again) is Version


def test_the_etag_of_an_object_comes_back_in_quotes_whatever_stands_in_it() -> None:
    for etag in (f'"{ETAG}"', f'"{ETAG}-3"', '"a-b-c"'):
        assert Version.of_object(etag=etag, size=7).object_etag == etag


def test_a_page_is_asked_for_by_what_its_server_told() -> None:
    by_etag = Version.of_page(etag='W/"a:b"', modified=DATE, data=b"")
    by_date = Version.of_page(etag=None, modified=DATE, data=b"")
    by_bytes = Version.of_page(etag=None, modified=None, data=b"")

    assert (by_etag.page_etag, by_etag.page_modified) == ('W/"a:b"', None)
    assert (by_date.page_etag, by_date.page_modified) == (None, DATE)
    assert (by_bytes.page_etag, by_bytes.page_modified) == (None, None)


def test_a_member_tells_its_tar_and_where_it_begins() -> None:
    member = FILE.of_member(offset=512)

    assert (member.container, member.offset) == (FILE, 512)


@pytest.mark.parametrize("stored", ["", "7-1", "x@y", "@", 'etag:"a@b"', "7-1@-5"])
def test_what_is_no_member_has_no_tar(stored: str) -> None:
    assert Version(stored).offset is None
    assert Version(stored).container == ""


def test_only_sidecars_make_a_version_with_sidecars() -> None:
    of_object = Version.of_object(etag='"a+b/c=-5"', size=7)
    for sidecars in ([], [of_object], [of_object, of_object]):
        assert of_object.with_sidecars(sidecars).without_sidecars(size=7) == of_object


def test_other_metadata_makes_everything_new() -> None:
    described = FILE.with_metadata(META)

    assert described.without_metadata(META) == FILE
    assert described.without_metadata({**META, "rating": 5}) is None
    assert described.without_metadata({}) is None
    assert FILE.without_metadata({}) == FILE
    assert FILE.without_metadata(META) is None


texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(texts, st.integers() | texts, max_size=3), texts)
def test_metadata_comes_off_as_it_went_on(meta: dict[str, object], etag: str) -> None:
    plain = Version.of_object(etag=etag, size=7)

    assert plain.with_metadata(meta).without_metadata(meta) == plain


@given(texts, st.integers(0, 2**63), st.integers(0, 2**63))
def test_a_member_of_whatever_tar_is_taken_apart_as_it_was_made(etag: str, size: int, offset: int) -> None:
    tar = Version.of_object(etag=etag, size=size)

    assert (tar.of_member(offset=offset).container, tar.of_member(offset=offset).offset) == (tar, offset)
