"""The commands that ask: a thin reading of ``connector.search.client``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options
from connector.cli.output import show_counts, show_groups, show_hits, show_points
from connector.errors import InvalidQuery

if TYPE_CHECKING:
    from connector.search.query import Query

app = typer.Typer()


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="What the image shows, in any language.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Ask by this image: a file or an address.")] = None,
    like: Annotated[str | None, typer.Option("--like", help="Ask by this stored image: the id of its point.")] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Words to lead away from; may be given again.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="Language of the words, such as en, where you know it.")
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", help="Filter, such as 'width >= 1024 and folder == \"holiday\"'.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many images, groups or values.")] = 10,
    offset: Annotated[int, typer.Option("--offset", help="How many to pass over.")] = 0,
    min_score: Annotated[float | None, typer.Option("--min-score", help="Leave out hits below this cosine.")] = None,
    diversity: Annotated[
        float, typer.Option("--diversity", help="From 0 to 1: hits that do not repeat one another.")
    ] = 0.0,
    relevant: Annotated[
        bool, typer.Option("--relevant", help="Leave out what does not fit: nothing comes where nothing does.")
    ] = False,
    group_by: Annotated[str | None, typer.Option("--group-by", help="Group the hits by this field.")] = None,
    facet: Annotated[
        str | None, typer.Option("--facet", help="Count this field's values, among the nearest if you ask for any.")
    ] = None,
    order_by: Annotated[
        str | None, typer.Option("--order-by", help="No question: the greatest of this number or date first.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="No question: images picked at random.")] = False,
    space: options.Space = None,
    collection: options.Collection = None,
    settings: options.SetAny = None,
    as_json: options.AsJson = False,
) -> None:
    """Find images by words in any language, by an image, or by a mixture of these.

    polyglance search "ein Hund im Schnee" --where 'width >= 1024'

    polyglance search "a beach" --image mine.jpg --without people --diversity 0.4

    polyglance search "a beach" --group-by folder

    polyglance search "a zebra" --relevant

    polyglance search --facet camera
    """
    from connector.search.client import ImageSearch

    question = question_of(text, image=image, like=like, without=without or [], language=language)
    purposes = {"--group-by": group_by, "--facet": facet, "--order-by": order_by, "--sample": sample or None}
    given = [name for name, value in purposes.items() if value is not None]
    if len(given) > 1:
        raise InvalidQuery(f"{' and '.join(given)} exclude one another; give one of them.")
    if question is None and (group_by is not None or not given):
        raise InvalidQuery("give words, --image FILE or --like ID.")
    if question is not None and (order_by is not None or sample):
        raise InvalidQuery(f"{given[0]} takes no question; leave the words, --image and --like out.")
    overrides = options.overrides(space=space, collection=collection, settings=settings)
    with ImageSearch.open(overrides=overrides) as opened:
        if facet is not None:
            counts = opened.facets(facet, of=question, where=where, limit=limit, relevant=relevant)
            show_counts(counts, field=facet, as_json=as_json)
        elif order_by is not None:
            show_points(opened.ordered(order_by, limit=limit, offset=offset, where=where), as_json=as_json)
        elif sample:
            show_points(opened.sample(limit, where=where), as_json=as_json)
        elif question is not None and group_by is not None:
            groups = opened.groups(question, by=group_by, limit=limit, where=where, relevant=relevant)
            show_groups(groups, as_json=as_json)
        elif question is not None:
            hits = opened.query(
                question,
                limit=limit,
                offset=offset,
                where=where,
                min_score=min_score,
                diversity=diversity,
                relevant=relevant,
            )
            show_hits(hits, query=text or image or like or "", as_json=as_json)


def question_of(
    text: str | None,
    *,
    image: str | None,
    like: str | None,
    without: Sequence[str],
    language: str | None = None,
) -> "Query | None":
    """The mixture of what a command's options give, None where they give nothing. Raises InvalidQuery."""
    from connector.search import query

    parts = [] if text is None else [query.text(text, language=language)]
    parts += [make(given) for make, given in ((query.image, image), (query.point, like)) if given is not None]
    parts += [-0.5 * query.text(each, language=language) for each in without]
    if without and len(parts) == len(without):
        raise InvalidQuery("--without needs something to lead away from: words, --image or --like.")
    return sum(parts[1:], parts[0]) if parts else None
