"""When an image was taken: the instant, and the date and time on the wall there."""

from datetime import UTC, datetime
from typing import Any

import pytest

from workers.metadata.embedded import metadata_fields
from workers.metadata.moments import read_moment, taken_fields

TOKYO = {"lat": 35.68, "lon": 139.76}
NEW_YORK = {"lat": 40.71, "lon": -74.0}
AT_SEA = {"lat": 0.5, "lon": -30.0}


def fields(text: str, **given: Any) -> dict[str, Any]:
    location = given.pop("location", None)
    return taken_fields(read_moment(text, **given), location=location)


@pytest.mark.parametrize(
    ("text", "given", "at"),
    [
        ("2024:05:02 07:00:00", {"offset": "+09:00"}, "2024-05-02T07:00:00+09:00"),
        ("2024:05:02 07:00:00+09:00", {}, "2024-05-02T07:00:00+09:00"),
        ("2024:05:02 07:00:00 +0900", {"offset": "-05:00"}, "2024-05-02T07:00:00+09:00"),
        ("2024-05-02T07:00Z", {}, "2024-05-02T07:00:00+00:00"),
        ("2024-05-02T07:00:00.5+09:00", {}, "2024-05-02T07:00:00.5+09:00"),
        ("2024:05:02 07:00:00", {"fraction": "1230"}, "2024-05-02T07:00:00.123"),
        ("2024:05:02 07:00:00", {"fraction": "  "}, "2024-05-02T07:00:00"),
        ("2024:05:02 07:00:00", {"location": TOKYO}, "2024-05-02T07:00:00+09:00"),
        ("2024:07:02 07:00:00", {"location": NEW_YORK}, "2024-07-02T07:00:00-04:00"),
        ("2024:01:02 07:00:00", {"location": NEW_YORK}, "2024-01-02T07:00:00-05:00"),
        ("2024:01:02 07:00:00", {"location": AT_SEA}, "2024-01-02T07:00:00-02:00"),
        ("2024:05:02 07:00:00", {"offset": "-05:00", "location": TOKYO}, "2024-05-02T07:00:00-05:00"),
        ("2024:05:02 07:00:00", {"offset": "+25:00"}, "2024-05-02T07:00:00"),
        ("2024:05:02 07:00:00", {"offset": ""}, "2024-05-02T07:00:00"),
    ],
)
def test_the_clock_is_local_and_its_offset_the_nearest_known(text: str, given: dict[str, Any], at: str) -> None:
    found = fields(text, **given)
    assert found["taken_at"] == at
    assert found["taken_local"].startswith(at[:19])


def test_days_and_hours_are_those_on_the_wall() -> None:
    assert fields("2024:05:02 07:00:00+09:00") == {
        "taken_at": "2024-05-02T07:00:00+09:00",
        "taken_local": "2024-05-02T07:00:00",
        "taken_on": "2024-05-02",
        "taken_month": 5,
        "taken_weekday": "thursday",
        "taken_hour": 7,
    }


def test_of_a_day_without_a_time_no_hour_is_known() -> None:
    found = fields("2024-05-02")
    assert (found["taken_at"], found["taken_local"]) == ("2024-05-02", "2024-05-02")
    assert "taken_hour" not in found


@pytest.mark.parametrize("text", ["", "2024:13:02 07:00:00", "0000:00:00 00:00:00", "yesterday", "    :  :     :  :  "])
def test_what_is_no_date_gives_nothing(text: str) -> None:
    assert fields(text) == {}


SECONDS = int(datetime(2024, 5, 1, 22, 0, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("camera", "location", "at", "on"),
    [
        ("2024:05:02 07:00:00", None, "2024-05-02T07:00:00+09:00", "2024-05-02"),  # the clock tells the offset
        ("2024:05:02 07:00:00+09:00", None, "2024-05-02T07:00:00+09:00", "2024-05-02"),
        ("2019:01:01 00:00:00", None, "2024-05-01T22:00:00+00:00", "2024-05-01"),  # corrected by hand
        ("2019:01:01 00:00:00", TOKYO, "2024-05-02T07:00:00+09:00", "2024-05-02"),
        (None, TOKYO, "2024-05-02T07:00:00+09:00", "2024-05-02"),
        (None, None, "2024-05-01T22:00:00+00:00", "2024-05-01"),
    ],
)
def test_an_instant_finds_its_day_by_the_clock_or_the_place(
    camera: str | None, location: dict[str, float] | None, at: str, on: str
) -> None:
    embedded: dict[str, Any] = {"moment": read_moment(camera)} if camera else {}
    if location:
        embedded["location"] = location
    found = metadata_fields(embedded, {"instant": SECONDS})
    assert (found["taken_at"], found["taken_on"]) == (at, on)


def test_a_sidecar_of_the_same_time_keeps_the_offset_that_the_camera_knows() -> None:
    found = metadata_fields({"moment": read_moment("2024:05:02 07:00:00+09:00")}, {"taken": "2024-05-02T07:00:00"})
    assert found["taken_at"] == "2024-05-02T07:00:00+09:00"
    corrected = metadata_fields({"moment": read_moment("2024:05:02 07:00:00+09:00")}, {"taken": "2023-01-01T01:00:00"})
    assert corrected["taken_at"] == "2023-01-01T01:00:00"
