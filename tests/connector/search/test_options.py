"""The options of a search are the fields of SearchOptions, at every door."""

import asyncio
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
import typer.main

import polyglance
from connector import ImageSearch, InvalidQuery, SearchOptions, Settings
from connector.integrations.mcp import SmallImages, make_server
from connector.search.options import PageArguments, PageOptions, SearchArguments, search_options
from connector.service.app import create_app
from workers.demo import tour

NAMES = [each.name for each in search_options()]
SAILBOAT = tour.IMAGES / "travel-places/sailboat.png"


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=noto) as opened:
        yield opened


@pytest.mark.parametrize(("arguments", "options"), [(SearchArguments, SearchOptions), (PageArguments, PageOptions)])
def test_keyword_arguments_have_the_fields_and_their_types(arguments: Any, options: Any) -> None:
    hints = get_type_hints(options)
    assert get_type_hints(arguments) == {each.name: hints[each.name] for each in fields(options)}


def test_every_option_is_documented() -> None:
    assert all(each.description.endswith(".") for each in search_options())


def test_every_method_that_takes_a_question_takes_every_option(search: ImageSearch) -> None:
    options: SearchArguments = {
        "limit": 2, "offset": 1, "where": "width > 10", "min_score": -1.0, "diversity": 0.3, "relevant": False,
        "language": "de", "understand": True, "literal": "2023", "mode": None, "recent": True, "prefer": "width > 64",
        "order_by": None,
    }  # fmt: skip
    assert list(options) == NAMES
    boat = search.text("Segelboot", limit=1)[0].id
    vectors = search.embed_texts(["Hund"])

    assert len(search.text("Hund", **options)) == 2
    assert len(search.texts(["Hund"], **options)[0]) == 2
    assert len(search.image(str(SAILBOAT), **options)) == 2
    assert len(search.like(boat, **options)) == 2
    assert len(search.query("Hund", **options)) == 2
    assert len(search.queries(["Hund"], **options)[0]) == 2
    assert len(search.nearest(vectors, modality="text", **options)[0]) == 2
    assert len(search.groups("Hund", by="folder", **options)) == 2
    assert len(search.facets("folder", of="Hund", **options)) == 2
    assert len(search.facets("folder", **options)) == 2


def test_groups_and_counts_are_paged_like_hits(search: ImageSearch) -> None:
    groups = search.groups("Hund", by="folder", limit=4)
    counts = search.facets("folder", of="Hund", limit=4)
    assert search.groups("Hund", by="folder", limit=3, offset=1) == groups[1:]
    assert search.facets("folder", of="Hund", limit=3, offset=1) == counts[1:]
    assert search.facets("folder", limit=3, offset=1) == search.facets("folder", limit=4)[1:]


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0}, {"limit": 10_001}, {"limit": 1.5}, {"offset": -1}, {"min_score": 2}, {"min_score": "x"},
        {"diversity": None}, {"diversity": 1.1}, {"relevant": "yes"}, {"relevant": 1}, {"language": ""},
        {"language": "no tag"}, {"language": 5}, {"understand": "no"}, {"understand": None}, {"literal": 5},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_told_by_the_options_themselves(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InvalidQuery, match=f"^{name} is "):
        SearchOptions(**wrong)


def test_options_go_through_their_arguments_unchanged() -> None:
    options = SearchOptions(limit=3, where="width > 1", relevant=True)
    assert SearchOptions(**options.arguments()) == options
    assert hash(options) == hash(SearchOptions(**options.arguments()))
    assert PageOptions(**options.page_arguments()) == PageOptions(limit=3, where="width > 1")


@pytest.mark.parametrize("command", ["search", "export"])
def test_the_command_line_has_every_option_with_its_description(command: str) -> None:
    made = typer.main.get_command(polyglance.app).commands[command]  # type: ignore[attr-defined]
    given = {each.name: each for each in made.params}
    for each in search_options():
        assert f"--{each.name.replace('_', '-')}" in given[each.name].opts
        assert given[each.name].help == each.description
    assert {each.name: given[each.name].default for each in search_options() if each.name != "limit"} == {
        each.name: each.default for each in search_options() if each.name != "limit"
    }


def test_rest_has_every_option_with_its_bounds_and_description(noto: Settings, search: ImageSearch) -> None:
    page = create_app(search, settings=noto).openapi()
    schema = page["components"]["schemas"]["SearchRequest"]
    parameters = {each["name"]: each for each in page["paths"]["/v1/facets"]["get"]["parameters"]}
    for each in search_options():
        assert schema["properties"][each.name]["description"] == each.description
        assert schema["properties"][each.name].get("default") == each.default
        assert parameters[each.name]["description"] == each.description
    assert (schema["properties"]["limit"]["minimum"], schema["properties"]["limit"]["maximum"]) == (1, 10_000)
    assert {"text", "like", "query"} <= schema["properties"].keys()
    assert {"text", "point", "weight"} <= page["components"]["schemas"]["WeightedPartRequest"]["properties"].keys()


def test_the_tools_for_agents_have_every_option_with_its_description(search: ImageSearch, noto: Settings) -> None:
    tools = {each.name: each for each in asyncio.run(make_server(search, small=SmallImages(noto)).list_tools())}
    for name in ("search", "like", "facets"):
        properties = tools[name].input_schema["properties"]
        for each in search_options():
            assert properties[each.name]["description"] == each.description
        assert properties["limit"]["maximum"] == 100
