"""The command ``polyglance search``: a thin reading of ``connector.search.client``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from connector.cli import options
from connector.cli.output import show_counts, show_groups, show_hits, show_paths, show_points, show_understood
from connector.errors import InvalidQuery
from connector.search.options import SearchArguments, SearchOptions

if TYPE_CHECKING:
    from connector.search.query import Query

app = typer.Typer(add_completion=False)


@app.command()
@options.takes_search_options(before="group_by")
def search(
    text: Annotated[str | None, typer.Argument(help="What the image shows, in any language.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Ask by this image: a file or an address.")] = None,
    like: Annotated[
        list[str] | None,
        typer.Option("--like", help="More like this stored image, by the id of its point; may be given again."),
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option("--unlike", help="Less like this stored image; may be given again.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Text to push away from; may be given again.")
    ] = None,
    group_by: Annotated[str | None, typer.Option("--group-by", help="Group the hits by this field.")] = None,
    facet: Annotated[
        str | None, typer.Option("--facet", help="Count this field's values, among the nearest if you ask for any.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="No question: images picked at random.")] = False,
    paths: options.Paths = False,
    null: options.Null = False,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
    **given: Unpack[SearchArguments],
) -> None:
    """Find images by text in any language, by an image, or by a weighted query of these.

    polyglance search "ein Hund im Schnee" --where 'width >= 1024'

    polyglance search "a beach" --image mine.jpg --without people --diversity 0.4

    polyglance search "am Strand im Juli 2023"

    polyglance search "a beach" --group-by folder

    polyglance search "a zebra" --relevant

    polyglance search "a beach" --relevant --order-by -taken_at

    polyglance search "RE16 TGK" --mode words

    polyglance search --facet camera

    polyglance search "a beach" --relevant -0 | xargs -0 cp -t beach/
    """
    from connector.search.client import ImageSearch

    query = query_of(text, image=image, like=like or [], unlike=unlike or [], without=without or [])
    order_by = given.get("order_by")
    purposes = {"--group-by": group_by, "--facet": facet, "--order-by": order_by, "--sample": sample or None}
    chosen = [name for name, value in purposes.items() if value is not None]
    if len(chosen) > 1:
        raise InvalidQuery(f"{' and '.join(chosen)} exclude one another; give one of them.")
    if query is None and (group_by is not None or not chosen):
        raise InvalidQuery("give a text, --image FILE or --like ID.")
    paths = paths or null
    options.check_paths(paths, as_json=as_json)
    if paths and facet is not None:
        raise InvalidQuery("--paths lists images and nothing else; leave --facet out.")
    if query is not None and sample:
        raise InvalidQuery("--sample takes no question; leave the text, --image and --like out.")
    if query is None:
        given["order_by"] = None  # of all images, not of the relevant ones
    wanted = SearchOptions(**given)
    overrides = options.overrides(space=space, collection=collection, settings=settings, as_json=as_json)
    with ImageSearch.open(overrides=overrides) as opened:
        if facet is not None:
            show_counts(opened.facets(facet, of=query, **given), field=facet, as_json=as_json)
        elif query is not None and group_by is not None:
            groups = opened.groups(query, by=group_by, **given)
            if paths:
                show_understood(groups.understood, err=True)
                show_paths((hit for group in groups for hit in group.hits), null=null)
            else:
                show_groups(groups, as_json=as_json)
        elif query is not None:
            hits = opened.query(query, **given)
            if paths:
                show_understood(hits.understood, err=True)
                show_paths(hits, null=null)
            else:
                show_hits(hits, query=text or image or ", ".join(like or []), as_json=as_json)
        else:
            if order_by is None:
                points = opened.sample(wanted.limit, where=wanted.where)
            else:
                points = opened.ordered(order_by, **wanted.page_arguments())
            if paths:
                show_paths(points, null=null)
            else:
                show_points(points, as_json=as_json)


def query_of(
    text: str | None, *, image: str | None, like: Sequence[str], unlike: Sequence[str], without: Sequence[str]
) -> "Query | None":
    """The query that a command's options make, None where they give nothing. Raises InvalidQuery."""
    from connector.search import query

    towards = [make(given) for make, given in ((query.text, text), (query.image, image)) if given is not None]
    if not towards and not like:
        for flag in [flag for flag, given in (("--without", without), ("--unlike", unlike)) if given]:
            raise InvalidQuery(f"{flag} needs something to push away from: a text, --image or --like.")
        return None
    parts = towards + [-0.5 * query.text(each) for each in without]
    return query.feedback(sum(parts[1:], parts[0]) if parts else None, more=like, less=unlike)
