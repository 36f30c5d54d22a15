"""HybridRetriever: questions by what is seen and by words -> one ranked list; and orders other than nearness.

    vector ──► nearest ┐
                       ├─► fused by rank ─► relevance ─► preferences ─► diversity, or an order by date ─► reasons
    words  ──► BM25    ┘

The rule: the cosine of every candidate is known, so relevance means what it does without words; and the order of the
first images does not depend on how many are asked for. Of candidates only what orders them is read; the payload is that
of the images on the page. docs/decisions/0013-words.md has the measurements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from connector.records import SEEN, Hit, Payload, Reason, Vector, Vectors
from connector.search.fusion import PREFERRED, RECENT, ranks_of, recency, weighted_rrf
from connector.search.hits import Hits
from connector.search.options import GROUPED, MAX_LIMIT, SearchOptions, order_of
from connector.search.pages import order_value
from connector.search.query import QueryWords
from connector.search.relevance import RELEVANT, RelevanceModel
from connector.search.retrieval import Retriever
from connector.search.word_match import AskedWords, certainty, reasons_of
from connector.search.word_statistics import WordStatistics
from connector.store.engine import Engine, NearestQuery, WordsQuery
from connector.store.points import check_order, sent_id

if TYPE_CHECKING:
    from qdrant_client.models import Filter

BANDS = (100, 1_000, MAX_LIMIT)
"""Places in either list whose images are ranked together: the first hundred, then the others up to the next bound."""
WORDS_WEIGHT = 3.0
"""What the list of words counts beside what is seen, for an image that holds all words of the question; for others
it is multiplied by how much of them they hold."""
WORDS_BESIDE = 2.0
"""The same, where the question has other parts than a text: an image, or what is to be pushed away."""
WEAK = 0.6
"""How much of the words an image holds that needs the eye's word for it, where the eye is sure of others."""
SURE = 0.7
"""Relevance of what is seen from which the eye is sure."""
BEHIND = 1e-6
"""How little behind: these stay before all that is worth less, and in their own order."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its ``vector`` (dims,), None where words alone answer; its ``words``, None where they do not.

    ``asked`` and ``against`` are these taken apart, and those that push away; None where there are none.
    """

    vector: Vector | None
    words: QueryWords | None
    asked: AskedWords | None = None
    against: AskedWords | None = None
    where: "Filter | None" = None
    calibration: str | None = None


@dataclass(slots=True)
class Candidate:
    """An image that may be a hit: how sure it is by what is ``seen``, and how much of the words it holds, from 0 to 1.

    ``weight`` is what its place among the words counts, ``worth`` what it is sorted by.
    """

    hit: Hit
    seen: float | None = None
    strength: float = 0.0
    weight: float = 0.0
    worth: float = 0.0


@dataclass(frozen=True, slots=True)
class Lists:
    """The two lists of one question, best first."""

    seen: Sequence[Hit]
    read: Sequence[Hit]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds of candidates, by their ids: vectors of those that only words found, and words asked for."""

    vectors: Mapping[str, Vector]
    terms: Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What orders all answers of one call, beside nearness."""

    options: SearchOptions
    depth: int
    prefer: "Filter | None"
    dates: bool

    @property
    def fields(self) -> list[str]:
        """What of a payload decides the order."""
        key = order_of(self.options.order_by).key if self.options.order_by else None
        return [*["taken_at"] * self.options.recent, *[key] * bool(key)]  # type: ignore[list-item]  # it is a text then


class HybridRetriever:
    """Asks the store of one collection by vectors and words. Safe to use from many threads."""

    def __init__(self, engine: Engine, *, relevance: RelevanceModel, retriever: Retriever) -> None:
        self._engine = engine
        self._relevance = relevance
        self._retriever = retriever
        self._statistics = WordStatistics(engine)

    def answers(
        self,
        vectors: Vectors | None,
        *,
        words: Sequence[QueryWords | None] | None,
        options: SearchOptions,
        where: "Sequence[Filter | None]",
        calibrations: Sequence[str | None],
    ) -> list[Hits]:
        """An answer to each question, by its vector of ``vectors`` (n, dims), by its words, or both.

        Raises InvalidQuery.
        """
        questions = [
            Question(
                None if vectors is None else vectors[n],
                None if words is None else words[n],
                where=one,
                calibration=calibrations[n],
            )
            for n, one in enumerate(where)
        ]
        prefer, dates = self._retriever.condition(options.prefer), False
        if options.order_by is not None:
            indexes, key = self._engine.info().schema.indexes, order_of(options.order_by).key
            check_order(key, indexes=indexes)
            dates = indexes[key] == "datetime"
        ranking = Ranking(options, depth=_depth(options), prefer=prefer, dates=dates)
        read = self._read(questions, ranking=ranking)
        if vectors is not None and not any(read) and not options.ranks_anew:
            answers = self._retriever.nearest(vectors, options=options, where=where, calibrations=calibrations)
            return [Hits(replace(hit, reasons=(SEEN,)) for hit in hits) for hits in answers]
        lists = [Lists(*both) for both in zip(self._seen(questions, ranking=ranking), read, strict=True)]
        questions = [_taken_apart(one) if both.read else one for one, both in zip(questions, lists, strict=True)]
        stored = self._stored(questions, lists, depth=ranking.depth)
        pages = [
            self._page(question, lists=both, stored=stored, ranking=ranking)
            for question, both in zip(questions, lists, strict=True)
        ]
        shown = {each.hit.id for page in pages for each in page}
        payloads = {each.id: each.payload for each in self._engine.retrieve([*shown])} if shown else {}
        return [self._hits(page, question, payloads=payloads) for page, question in zip(pages, questions, strict=True)]

    def _read(self, questions: Sequence[Question], *, ranking: Ranking) -> list[list[Hit]]:
        """What holds the words of each question, best first; asked first, for mostly nothing does."""
        asked = {
            number: WordsQuery(each.words.text, limit=ranking.depth, where=each.where, fields=ranking.fields)
            for number, each in enumerate(questions)
            if each.words is not None and each.words.text
        }
        return self._answered(asked, count=len(questions))

    def _seen(self, questions: Sequence[Question], *, ranking: Ranking) -> list[list[Hit]]:
        """What is nearest to each question that has a vector."""
        asked = {
            number: NearestQuery(each.vector, limit=ranking.depth, where=each.where, fields=ranking.fields)
            for number, each in enumerate(questions)
            if each.vector is not None
        }
        return self._answered(asked, count=len(questions))

    def _answered(self, asked: Mapping[int, NearestQuery | WordsQuery], *, count: int) -> list[list[Hit]]:
        """The store's answers in the order of ``count`` questions, nothing to those that are not asked."""
        answers = dict(zip(asked, self._engine.query([*asked.values()]) if asked else (), strict=True))
        return [answers.get(number, []) for number in range(count)]

    def _stored(self, questions: Sequence[Question], lists: Sequence[Lists], *, depth: int) -> Stored:
        """The vectors of images that only words found, where their cosine is wanted, and the words of candidates."""
        unseen: set[str] = set()
        worded: set[str] = set()
        terms: set[int] = set()
        for question, both in zip(questions, lists, strict=True):
            if question.asked is None:
                continue
            read, seen = ({hit.id for hit in one} for one in (both.read, both.seen))
            terms |= question.asked.terms.union(*([question.against.terms] if question.against else []))
            unseen |= read - seen if question.vector is not None else set()
            worded |= read if len(read) < depth else read | seen
        asked = [*terms]
        found = self._engine.retrieve([*unseen], fields=[], vectors=True, terms=asked) if unseen else []
        if rest := worded - unseen:
            found += self._engine.retrieve([*rest], fields=[], terms=asked)
        vectors = {each.id: each.vector for each in found if each.vector is not None}
        return Stored(vectors, {each.id: frozenset(each.terms) for each in found})

    def _page(self, question: Question, *, lists: Lists, stored: Stored, ranking: Ranking) -> list[Candidate]:
        """The candidates that are wanted, best first."""
        options = ranking.options
        found = self._candidates(question, lists=lists, vectors=stored.vectors, relevant=options.relevant)
        if question.asked is not None:
            self._judge(found, question.asked, held=stored.terms)
            if question.against is not None:
                self._push(found, question.against, held=stored.terms)
        order = self._order(found, question=question, lists=lists, ranking=ranking)
        if options.min_score is not None:
            order = [each for each in order if each.hit.score >= options.min_score]
        if options.relevant:
            order = [each for each in order if (each.hit.relevance or 0.0) >= RELEVANT]
        end = options.offset + options.limit
        if options.order_by is not None:
            order = _sorted(order, options.order_by, dates=ranking.dates)
        elif options.diversity:
            order = self._diverse(order, options=options, count=end)
        return order[options.offset : end]

    def _hits(self, page: Sequence[Candidate], question: Question, *, payloads: Mapping[str, Payload]) -> Hits:
        """The images of a page with their payload and their reasons; one may be deleted meanwhile."""
        asked = question.asked
        terms = frozenset[int]() if asked is None else asked.terms
        telling = terms if asked is None else asked.telling(self._statistics.information(asked))
        for each in page:
            each.hit = replace(each.hit, payload=payloads.get(each.hit.id, {}))
        return Hits(self._explained(each, telling=telling, terms=terms) for each in page if each.hit.id in payloads)

    def _candidates(
        self, question: Question, *, lists: Lists, vectors: Mapping[str, Vector], relevant: bool
    ) -> dict[str, Candidate]:
        """Every image of either list by its id, with its cosine and what that says of it."""
        if question.vector is None:
            return {hit.id: Candidate(hit) for hit in lists.read}
        near = {hit.id for hit in lists.seen}
        others = [hit for hit in lists.read if hit.id not in near and hit.id in vectors]  # one may be deleted meanwhile
        hits = [*lists.seen, *(Hit(hit.id, float(question.vector @ vectors[hit.id]), hit.payload) for hit in others)]
        judged = self._relevance.with_relevance(
            hits, vector=question.vector, calibration=question.calibration, relevant=False
        )
        if relevant and judged and judged[0].relevance is None:  # nothing tells them, which is said there
            self._relevance.with_relevance(
                hits, vector=question.vector, calibration=question.calibration, relevant=True
            )
        return {hit.id: Candidate(hit, seen=hit.relevance) for hit in judged}

    def _judge(self, found: Mapping[str, Candidate], asked: AskedWords, *, held: Mapping[str, frozenset[int]]) -> None:
        """How much of the words each candidate holds, and how relevant that makes it."""
        information = self._statistics.information(asked)
        strengths = {terms: asked.strength(terms, information) for terms in {*held.values()}}  # mostly a few
        for point, each in found.items():
            each.strength = strengths[held[point]] if point in held else 0.0
            each.weight = each.strength
            if each.strength:
                relevance = max(each.seen or 0.0, round(certainty(each.strength), 4))
                each.hit = replace(each.hit, relevance=relevance)

    def _push(self, found: Mapping[str, Candidate], against: AskedWords, *, held: Mapping[str, frozenset[int]]) -> None:
        """Let words speak less for images that hold those that are to be pushed away."""
        information = self._statistics.information(against)
        strengths = {terms: against.strength(terms, information) for terms in {*held.values()}}
        for point, each in found.items():
            if each.strength:
                each.weight *= 1.0 - strengths[held[point]]

    def _order(
        self, found: Mapping[str, Candidate], *, question: Question, lists: Lists, ranking: Ranking
    ) -> list[Candidate]:
        """The candidates, best first."""
        share = question.words.share if question.words else 0.0
        weight = share * (WORDS_WEIGHT if share == 1.0 else WORDS_BESIDE)
        weights = {point: (weight or 1.0) * each.weight for point, each in found.items()}
        places = [_placed(hits, found) for hits in (lists.seen, lists.read)]
        ranks = [places[0], ranks_of([(hit.id, hit.score) for hit in lists.read])]
        if lists.read and len(lists.read) == ranking.depth:  # others may hold the words as well, further down
            last = ranks[1][lists.read[-1].id]
            ranks[1] = {point: last for point, each in found.items() if each.strength} | ranks[1]
        boosts = self._boosts(found, ranking=ranking)
        order: list[Candidate] = []
        for bound, band in _bands(places):
            here = [{point: rank for point, rank in one.items() if point in band and rank <= bound} for one in ranks]
            fused = weighted_rrf(here, weights=[1.0, weights])
            for point in band:
                found[point].worth = boosts.get(point, 1.0) * fused.get(point, 0.0)
            _hold_back([found[point] for point in band])
            order += sorted(
                (found[point] for point in band), key=lambda each: (-each.worth, -each.hit.score, each.hit.id)
            )
        return order

    def _boosts(self, found: Mapping[str, Candidate], *, ranking: Ranking) -> Mapping[str, float]:
        """How much further up what is preferred comes."""
        options = ranking.options
        if not found or not (options.recent or ranking.prefer):
            return {}
        boosts = dict.fromkeys(found, 1.0)
        if options.recent:
            now = datetime.now(UTC)
            for point, each in found.items():
                boosts[point] += RECENT * recency(each.hit.payload.get("taken_at"), now=now)
        if ranking.prefer is not None:
            from qdrant_client import models

            among = models.Filter(must=[ranking.prefer, models.HasIdCondition(has_id=[*map(sent_id, found)])])
            for stored in self._engine.scroll(limit=len(found), where=among, fields=[]).points:
                boosts[stored.id] += PREFERRED
        return boosts

    def _diverse(self, order: Sequence[Candidate], *, options: SearchOptions, count: int) -> list[Candidate]:
        some = {each.hit.id: each for each in order[: options.candidates]}
        best = max((each.worth for each in some.values()), default=0.0) or 1.0
        chosen = self._retriever.diverse(
            [each.hit for each in some.values()],
            scores=[each.worth / best for each in some.values()],
            diversity=options.diversity,
            count=count,
        )
        return [some[hit.id] for hit in chosen]

    def _explained(self, found: Candidate, *, telling: frozenset[int], terms: frozenset[int]) -> Hit:
        """The hit with its reasons: of all ``terms`` of the question those that are ``telling``."""
        reasons: list[Reason] = []
        if found.strength:
            reasons = reasons_of(found.hit.payload, self._statistics.fields, asked=telling)
            if not reasons and found.seen is None:  # it has no other reason than a word that says little
                reasons = reasons_of(found.hit.payload, self._statistics.fields, asked=terms)
        if not reasons or (found.seen or 0.0) >= RELEVANT:
            reasons = [SEEN, *reasons]
        return replace(found.hit, reasons=tuple(reasons))


def _taken_apart(question: Question) -> Question:
    """The question with its words taken apart."""
    words = question.words
    if words is None:
        return question
    against = AskedWords.of(QueryWords(words.against)) if words.against else None
    return replace(question, asked=AskedWords.of(words), against=against)


def _hold_back(some: Sequence[Candidate]) -> None:
    """Let images that hold few of the words, and that the eye does not find, stay behind those that it is sure of."""
    sure = [each.worth for each in some if (each.seen or 0.0) >= SURE]
    if not sure:
        return
    least = min(sure)
    for each in some:
        if 0.0 < each.strength < WEAK and (each.seen or 0.0) < RELEVANT and each.worth >= least:
            each.worth = least * (1 - BEHIND / (1 + each.worth))


def _depth(options: SearchOptions) -> int:
    """How many images of each list are looked at."""
    wanted = options.offset + options.limit
    if options.order_by is not None:
        wanted = max(wanted, GROUPED)
    if options.diversity:
        wanted = options.candidates
    return next(bound for bound in BANDS if bound >= min(wanted, MAX_LIMIT))


def _placed(hits: Sequence[Hit], found: Mapping[str, Candidate]) -> dict[str, int]:
    return {hit.id: place for place, hit in enumerate(hits, 1) if hit.id in found}


def _bands(places: Sequence[Mapping[str, int]]) -> list[tuple[int, set[str]]]:
    """The images that stand within each of the bounds in one of the lists, and in none of a lesser bound."""
    bands: list[tuple[int, set[str]]] = []
    done: set[str] = set()
    for above, bound in pairwise((0, *BANDS)):
        band = {point for one in places for point, place in one.items() if above < place <= bound} - done
        done |= band
        bands.append((bound, band))
    return bands


def _sorted(order: Sequence[Candidate], order_by: str, *, dates: bool) -> list[Candidate]:
    """Candidates by the value of a field; those without it last, as they are."""
    wanted = order_of(order_by)
    values: list[tuple[Any, Candidate]] = [
        (order_value(each.hit.payload, wanted.key, dates=dates, descending=wanted.descending), each) for each in order
    ]
    valued = sorted(
        (pair for pair in values if pair[0] is not None), key=lambda pair: pair[0], reverse=wanted.descending
    )
    return [each for _, each in valued] + [each for value, each in values if value is None]
