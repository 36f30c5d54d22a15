"""Counters and Report: what was counted, and what the counts say."""

import threading

from workers.pipeline.counters import Counters, RunReport
from workers.records import Counts, Reject


def reject(reason: str) -> Reject:
    return Reject("file:///x.jpg", stage="decode", reason=reason, detail="")


def test_counts_from_many_threads_add_up() -> None:
    counters = Counters(threads={"read": 8})

    def count() -> None:
        for _ in range(500):
            counters.listed(3)
            counters.stored(1)
            counters.unchanged(1)
            counters.rejected(reject("truncated"))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counters.report().counts == Counts(listed=12000, stored=4000, unchanged=4000, rejected=4000)
    assert counters.report().counts.balanced
    assert len(counters.rejects) == 4000


def test_reasons_come_most_frequent_first() -> None:
    counters = Counters(threads={})
    for reason in ("empty", "truncated", "truncated"):
        counters.rejected(reject(reason))

    assert list(counters.report().reasons.items()) == [("truncated", 2), ("empty", 1)]
    assert list((counters.report() + RunReport(reasons={"empty": 5})).reasons.items()) == [
        ("empty", 6),
        ("truncated", 2),
    ]


def test_work_is_counted_also_when_it_fails() -> None:
    counters = Counters(threads={"read": 1, "embed": 1})
    try:
        with counters.busy("embed"):
            raise OSError
    except OSError:
        pass

    assert counters.report().busy["embed"] > 0
    assert counters.report().busy["read"] == 0
    assert counters.report().bottleneck == "embed"


def test_the_busiest_stage_for_its_threads_is_the_bottleneck() -> None:
    report = RunReport(seconds=10, busy={"read": 12.0, "embed": 8.0}, threads={"read": 4, "embed": 1})

    assert report.shares == {"read": 0.3, "embed": 0.8}
    assert report.bottleneck == "embed"


def test_a_share_is_never_above_one() -> None:
    assert RunReport(seconds=1, busy={"read": 2.5}, threads={"read": 2}).shares == {"read": 1.0}


def test_a_stage_whose_workers_never_began_has_a_share() -> None:
    assert RunReport(seconds=2, busy={"read": 1.0, "embed": 0.0}, threads={"read": 0, "embed": 0}).shares == {
        "read": 0.5,
        "embed": 0.0,
    }


def test_nothing_done_has_no_bottleneck_and_no_rate() -> None:
    assert RunReport().bottleneck is None
    assert RunReport().rate == 0
    assert RunReport(busy={"read": 0.0}, seconds=0.0).bottleneck is None


def test_the_rate_counts_every_outcome() -> None:
    assert RunReport(counts=Counts(listed=6, stored=1, unchanged=2, rejected=3), seconds=2).rate == 3


def test_reports_add_up_and_an_empty_one_changes_nothing() -> None:
    one = RunReport(
        counts=Counts(3, 1, 1, 1), reasons={"empty": 1}, seconds=2.0, busy={"read": 1.0}, threads={"read": 4}
    )
    two = RunReport(
        counts=Counts(1, 1, 0, 0), seconds=3.0, busy={"read": 1.0, "embed": 2.0}, threads={"read": 4, "embed": 1}
    )

    assert one + two == RunReport(
        counts=Counts(4, 2, 1, 1),
        reasons={"empty": 1},
        seconds=5.0,
        busy={"read": 2.0, "embed": 2.0},
        threads=two.threads,
    )
    assert one + RunReport() == RunReport() + one == one


def test_counts_balance_only_when_every_image_has_one_outcome() -> None:
    assert Counts(listed=3, stored=1, unchanged=1, rejected=1).balanced
    assert not Counts(listed=3, stored=1, unchanged=1).balanced
    assert not Counts(listed=3, stored=4).balanced
