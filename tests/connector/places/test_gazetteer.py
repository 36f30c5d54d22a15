"""Coordinates have names where a town or a country is, and none where nothing is; names mean places in any language."""

import pytest

from connector.places.gazetteer import find, names_at
from connector.understand.tokens import key_of


@pytest.mark.parametrize(
    ("lat", "lon", "wanted"),
    [
        (52.5163, 13.3777, ["Berlin", "Germany"]),
        (41.8902, 12.4922, ["Rome", "Lazio", "Italy"]),
        (48.137, 11.575, ["Munich", "Bavaria", "Germany"]),
        (35.6595, 139.7005, ["Tokyo", "Japan"]),
        (40.758, -73.9855, ["New York City", "New York", "United States"]),
        (47.5596, 7.5886, ["Basel", "Switzerland"]),
        (41.9022, 12.4533, ["Vatican City"]),
        (78.22, 15.65, ["Longyearbyen"]),
        (-16.8, -179.99, ["Fiji"]),
    ],
)
def test_coordinates_have_the_names_of_town_region_and_country(lat: float, lon: float, wanted: list[str]) -> None:
    assert [each for each in names_at(lat, lon) if each in wanted] == wanted


@pytest.mark.parametrize(("lat", "lon"), [(0, 0), (90, 0), (30, -40), (-40, -130), (0, 180), (0, -180), (60, -30)])
def test_the_open_sea_and_the_pole_have_none(lat: float, lon: float) -> None:
    assert names_at(lat, lon) == []


@pytest.mark.parametrize(
    ("lat", "lon", "country"), [(23, 10, "Algeria"), (-75, 40, "Antarctica"), (72, -40, "Greenland")]
)
def test_where_no_town_is_near_the_country_alone_is_named(lat: float, lon: float, country: str) -> None:
    assert names_at(lat, lon) == [country]


def test_the_border_decides_not_the_nearest_town() -> None:
    assert "France" not in names_at(47.57, 7.60)
    assert names_at(32.58, -117.03)[-1] == "United States"
    assert names_at(32.49, -117.02)[-1] == "Mexico"


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (["Rome", "Rom", "Roma", "ローマ", "Рим", "Rzym", "Róma", "روما", "罗马市"], "Rome"),
        (["München", "Munich", "Monachium", "Мюнхен", "ミュンヘン", "Munchen"], "Munich"),
        (["Italien", "Italie", "イタリア", "意大利", "Италия", "İtalya", "อิตาลี"], "Italy"),
        (["Bayern", "Bavière", "Baviera"], "Bavaria"),
        (["New York"], "New York"),
        (["England"], "England"),
        (["Turkey", "Türkei", "Türkiye"], "Turkey"),
    ],
)
def test_a_name_in_any_language_means_the_place(names: list[str], place: str) -> None:
    for name in names:
        found = find(key_of(name))
        assert found is not None, name
        assert found.names[0] == place


@pytest.mark.parametrize("word", ["", "a", "zzzz", "beach", "und", "\t", "rome\t", "\n"])
def test_another_word_means_none(word: str) -> None:
    assert find(word) is None
