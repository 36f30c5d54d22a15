"""Meter and Report: what was counted, and what the counts say."""

import threading

from workers.meter import Meter, Report
from workers.records import Reject, Tally


def reject(reason: str) -> Reject:
    return Reject("file:///x.jpg", stage="decode", reason=reason, detail="")


def test_counts_from_many_threads_add_up() -> None:
    meter = Meter(threads={"read": 8})

    def count() -> None:
        for _ in range(500):
            meter.listed(3)
            meter.stored(1)
            meter.unchanged(1)
            meter.rejected(reject("truncated"))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert meter.report().tally == Tally(listed=12000, stored=4000, unchanged=4000, rejected=4000)
    assert meter.report().tally.balanced
    assert len(meter.rejects) == 4000


def test_reasons_come_most_frequent_first() -> None:
    meter = Meter(threads={})
    for reason in ("empty", "truncated", "truncated"):
        meter.rejected(reject(reason))

    assert list(meter.report().reasons.items()) == [("truncated", 2), ("empty", 1)]
    assert list((meter.report() + Report(reasons={"empty": 5})).reasons.items()) == [("empty", 6), ("truncated", 2)]


def test_work_is_counted_also_when_it_fails() -> None:
    meter = Meter(threads={"read": 1, "embed": 1})
    try:
        with meter.busy("embed"):
            raise OSError
    except OSError:
        pass

    assert meter.report().busy["embed"] > 0
    assert meter.report().busy["read"] == 0
    assert meter.report().bottleneck == "embed"


def test_the_busiest_stage_for_its_threads_is_the_bottleneck() -> None:
    report = Report(seconds=10, busy={"read": 12.0, "embed": 8.0}, threads={"read": 4, "embed": 1})

    assert report.shares == {"read": 0.3, "embed": 0.8}
    assert report.bottleneck == "embed"


def test_a_share_is_never_above_one() -> None:
    assert Report(seconds=1, busy={"read": 2.5}, threads={"read": 2}).shares == {"read": 1.0}


def test_nothing_done_has_no_bottleneck_and_no_rate() -> None:
    assert Report().bottleneck is None
    assert Report().rate == 0
    assert Report(busy={"read": 0.0}, seconds=0.0).bottleneck is None


def test_the_rate_counts_every_outcome() -> None:
    assert Report(tally=Tally(listed=6, stored=1, unchanged=2, rejected=3), seconds=2).rate == 3


def test_reports_add_up_and_an_empty_one_changes_nothing() -> None:
    one = Report(tally=Tally(3, 1, 1, 1), reasons={"empty": 1}, seconds=2.0, busy={"read": 1.0}, threads={"read": 4})
    two = Report(
        tally=Tally(1, 1, 0, 0), seconds=3.0, busy={"read": 1.0, "embed": 2.0}, threads={"read": 4, "embed": 1}
    )

    assert one + two == Report(
        tally=Tally(4, 2, 1, 1),
        reasons={"empty": 1},
        seconds=5.0,
        busy={"read": 2.0, "embed": 2.0},
        threads=two.threads,
    )
    assert one + Report() == Report() + one == one


def test_books_balance_only_when_every_picture_has_one_outcome() -> None:
    assert Tally(listed=3, stored=1, unchanged=1, rejected=1).balanced
    assert not Tally(listed=3, stored=1, unchanged=1).balanced
    assert not Tally(listed=3, stored=4).balanced
