"""HybridRetriever: questions by what is seen and by words -> one ranked list; and orders other than nearness.

    vector ──► nearest ┐
                       ├─► fused by rank ─► relevance ─► preferences ─► diversity, or an order by date ─► reasons
    words  ──► BM25    ┘

The rule: the cosine of every candidate is known, so relevance means what it does without words; and the order of the
first images does not depend on how many are asked for. Of candidates only what orders them is read; the payload is that
of the images on the page. docs/decisions/0013-words.md has the measurements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from connector.records import SEEN, Hit, Payload, Reason, Vector, Vectors
from connector.search.candidates import BANDS, Candidate, bands, by_value, hold_back, judge, placed, push
from connector.search.fusion import PREFERRED, RECENT, ranks_of, recency, weighted_rrf
from connector.search.hits import Hits
from connector.search.options import GROUPED, MAX_LIMIT, SearchOptions, order_of
from connector.search.query import QueryWords
from connector.search.relevance import RELEVANT, RelevanceModel
from connector.search.retrieval import Retriever
from connector.search.word_match import AskedWord, AskedWords, Information, reasons_of
from connector.search.word_statistics import WordStatistics, questions_about, terms_about
from connector.store.engine import Engine, NearestQuery, WordsQuery
from connector.store.points import check_order, sent_id

if TYPE_CHECKING:
    from qdrant_client.models import Filter

WORDS_WEIGHT = 3.0
"""What the list of words counts beside what is seen, for an image that holds all words of the question; for others
it is multiplied by how much of them they hold."""
WORDS_BESIDE = 2.0
"""The same, where the question has other parts than a text: an image, or what is to be pushed away."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its ``vector`` (dims,), None where words alone answer; its ``words``, None where they do not.

    ``asked`` and ``against`` are these taken apart, and those that push away; None where there are none.
    ``information`` is what the words of both say.
    """

    vector: Vector | None
    words: QueryWords | None
    asked: AskedWords | None = None
    against: AskedWords | None = None
    information: Information = field(default_factory=dict)
    where: "Filter | None" = None
    calibration: str | None = None


@dataclass(frozen=True, slots=True)
class Lists:
    """The two lists of one question, best first."""

    seen: Sequence[Hit]
    read: Sequence[Hit]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store knows of candidates, by their ids: cosines to the question, and which of its words they hold."""

    cosines: Mapping[str, float]
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


BestHits: TypeAlias = Mapping[AskedWord, Hit | None]
"""The best hit of each word alone; None where nobody has it."""


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
        questions = [_taken_apart(one) if hits else one for one, hits in zip(questions, read, strict=True)]
        seen, best = self._seen(questions, ranking=ranking)
        lists = [Lists(*both) for both in zip(seen, read, strict=True)]
        questions, stored = self._stored(questions, lists, best=best, depth=ranking.depth)
        pages = [
            self._page(question, lists=both, stored=each, ranking=ranking)
            for question, both, each in zip(questions, lists, stored, strict=True)
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
        answers = dict(zip(asked, self._engine.query([*asked.values()]) if asked else (), strict=True))
        return [answers.get(number, []) for number in range(len(questions))]

    def _seen(self, questions: Sequence[Question], *, ranking: Ranking) -> tuple[list[list[Hit]], BestHits]:
        """What is nearest to each question that has a vector, and the best hits of words that are not known yet."""
        asked = {
            number: NearestQuery(each.vector, limit=ranking.depth, where=each.where, fields=ranking.fields)
            for number, each in enumerate(questions)
            if each.vector is not None
        }
        words = self._statistics.missing(each for one in questions for each in (one.asked, one.against) if each)
        found = self._engine.query([*asked.values(), *questions_about(words)]) if asked or words else []
        answers = dict(zip(asked, found, strict=False))
        best = {each: hits[0] if hits else None for each, hits in zip(words, found[len(asked) :], strict=True)}
        return [answers.get(number, []) for number in range(len(questions))], best

    def _stored(
        self, questions: Sequence[Question], lists: Sequence[Lists], *, best: BestHits, depth: int
    ) -> tuple[list[Question], list[Stored]]:
        """The questions with what their words say, and what the store knows of the candidates of each."""
        worded = {hit.id for hit in best.values() if hit is not None}
        terms = terms_about([*best])
        unseen: dict[int, list[str]] = {}
        for number, (question, both) in enumerate(zip(questions, lists, strict=True)):
            if question.asked is None:
                continue
            read, seen = ({hit.id for hit in one} for one in (both.read, both.seen))
            terms |= question.asked.terms.union(*([question.against.terms] if question.against else []))
            worded |= read if len(read) < depth else read | seen
            if question.vector is not None and not read <= seen:
                unseen[number] = [*(read - seen)]
        found = self._engine.retrieve([*worded], fields=[], terms=[*terms]) if worded else []
        weights = {each.id: dict(each.terms) for each in found}
        self._statistics.learn(best, weights=weights)
        held = {point: frozenset(each) for point, each in weights.items()}
        cosines = self._cosines(questions, unseen)
        return (
            [self._informed(each) for each in questions],
            [Stored(cosines.get(number, {}), held) for number in range(len(questions))],
        )

    def _cosines(
        self, questions: Sequence[Question], unseen: Mapping[int, Sequence[str]]
    ) -> dict[int, dict[str, float]]:
        """The cosines of images that only words found, by the questions' numbers."""
        if not unseen:
            return {}
        from qdrant_client import models

        asked: list[NearestQuery | WordsQuery] = []
        for number, points in unseen.items():
            vector, among = questions[number].vector, models.HasIdCondition(has_id=[*map(sent_id, points)])
            assert vector is not None
            where = models.Filter(must=[among])
            asked.append(NearestQuery(vector, limit=len(points), where=where, exact=True, fields=[]))
        answers = zip(unseen, self._engine.query(asked), strict=True)
        return {number: {hit.id: hit.score for hit in hits} for number, hits in answers}

    def _informed(self, question: Question) -> Question:
        """The question with what its words say."""
        known = [{} if each is None else self._statistics.known(each) for each in (question.asked, question.against)]
        return replace(question, information=known[0] | known[1])

    def _page(self, question: Question, *, lists: Lists, stored: Stored, ranking: Ranking) -> list[Candidate]:
        """The candidates that are wanted, best first."""
        options = ranking.options
        found = self._candidates(question, lists=lists, cosines=stored.cosines, relevant=options.relevant)
        if question.asked is not None:
            judge(found, question.asked, information=question.information, held=stored.terms)
            if question.against is not None:
                push(found, question.against, information=question.information, held=stored.terms)
        order = self._order(found, question=question, lists=lists, ranking=ranking)
        if options.min_score is not None:
            order = [each for each in order if each.hit.score >= options.min_score]
        if options.relevant:
            order = [each for each in order if (each.hit.relevance or 0.0) >= RELEVANT]
        end = options.offset + options.limit
        if options.order_by is not None:
            order = by_value(order, options.order_by, dates=ranking.dates)
        elif options.diversity:
            order = self._diverse(order, options=options, count=end)
        return order[options.offset : end]

    def _hits(self, page: Sequence[Candidate], question: Question, *, payloads: Mapping[str, Payload]) -> Hits:
        """The images of a page with their payload and their reasons; one may be deleted meanwhile."""
        asked = question.asked
        terms = frozenset[int]() if asked is None else asked.terms
        telling = terms if asked is None else asked.telling(question.information)
        for each in page:
            each.hit = replace(each.hit, payload=payloads.get(each.hit.id, {}))
        return Hits(self._explained(each, telling=telling, terms=terms) for each in page if each.hit.id in payloads)

    def _candidates(
        self, question: Question, *, lists: Lists, cosines: Mapping[str, float], relevant: bool
    ) -> dict[str, Candidate]:
        """Every image of either list by its id, with its cosine and what that says of it."""
        if question.vector is None:
            return {hit.id: Candidate(hit) for hit in lists.read}
        near = {hit.id for hit in lists.seen}
        others = [hit for hit in lists.read if hit.id not in near and hit.id in cosines]  # one may be deleted meanwhile
        hits = [*lists.seen, *(Hit(hit.id, cosines[hit.id], hit.payload) for hit in others)]
        judged = self._relevance.with_relevance(
            hits, vector=question.vector, calibration=question.calibration, relevant=False
        )
        if relevant and judged and judged[0].relevance is None:  # nothing tells them, which is said there
            self._relevance.with_relevance(
                hits, vector=question.vector, calibration=question.calibration, relevant=True
            )
        return {hit.id: Candidate(hit, seen=hit.relevance) for hit in judged}

    def _order(
        self, found: Mapping[str, Candidate], *, question: Question, lists: Lists, ranking: Ranking
    ) -> list[Candidate]:
        """The candidates, best first."""
        share = question.words.share if question.words else 0.0
        weight = share * (WORDS_WEIGHT if share == 1.0 else WORDS_BESIDE)
        weights = {point: (weight or 1.0) * each.weight for point, each in found.items()}
        places = [placed(hits, found) for hits in (lists.seen, lists.read)]
        ranks = [places[0], ranks_of([(hit.id, hit.score) for hit in lists.read])]
        if lists.read and len(lists.read) == ranking.depth:  # others may hold the words as well, further down
            last = ranks[1][lists.read[-1].id]
            ranks[1] = {point: last for point, each in found.items() if each.strength} | ranks[1]
        boosts = self._boosts(found, ranking=ranking)
        order: list[Candidate] = []
        for bound, band in bands(places):
            here = [{point: rank for point, rank in one.items() if point in band and rank <= bound} for one in ranks]
            fused = weighted_rrf(here, weights=[1.0, weights])
            for point in band:
                found[point].worth = boosts.get(point, 1.0) * fused.get(point, 0.0)
            hold_back([found[point] for point in band])
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


def _depth(options: SearchOptions) -> int:
    """How many images of each list are looked at."""
    wanted = options.offset + options.limit
    if options.order_by is not None:
        wanted = max(wanted, GROUPED)
    if options.diversity:
        wanted = options.candidates
    return next(bound for bound in BANDS if bound >= min(wanted, MAX_LIMIT))
