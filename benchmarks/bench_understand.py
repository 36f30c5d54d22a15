"""How well dates and places in questions are understood: right ones, false ones, and the time of a question.

    python -m benchmarks.bench_understand --out understand.json

Right: the generated phrases of ``tests.phrases``, each with the days it means. By locale: dates as CLDR writes them, by
``benchmarks.dates_of_locales``. False: a list of questions without date
or place, and the names of the bundled images; none of them may give a chip. Prints one line of JSON.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.dates_of_locales import other_forms, written
from connector.understand.question import understand
from tests.phrases import TODAY, days_of, phrases
from workers.demo import tour

NEGATIVES = Path(__file__).parents[1] / "tests" / "data" / "no-dates-no-places.txt"
COLD = """
import time
from datetime import date
import connector.search.client
begun = time.process_time()
from connector.understand.question import understand
understand({text!r}, today=date(2026, 12, 1))
print((time.process_time() - begun) * 1000)
"""


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    found = {"machine": platform.machine(), **right(), **by_locale(), **false(), **speed()}
    print(json.dumps(found, ensure_ascii=False))
    if (out := parser.parse_args().out) is not None:
        out.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def right() -> dict[str, Any]:
    """The share of phrases that mean their days and nothing else."""
    asked = [*phrases()]
    wrong = [each for each in asked if days_of(understand(each.text, today=TODAY).chips) != [(each.first, each.last)]]
    return {
        "phrases": len(asked),
        "languages": len({each.language for each in asked}),
        "right": round(1 - len(wrong) / len(asked), 4),
        "wrong_by_language": dict(Counter(each.language for each in wrong)),
        "wrong": [each.text for each in wrong[:20]],
    }


def by_locale() -> dict[str, Any]:
    """The share of dates in the forms of CLDR's locales that are understood, by kind, and what is not."""
    found: dict[str, Any] = {}
    for name, several in (("locale_forms", [*written()]), ("other_locale_forms", [*other_forms()])):
        wrong = [each for each in several if not any(map(each.fits, _readings(each.text)))]
        kinds = Counter(each.kind for each in several)
        lost = Counter(each.kind for each in wrong)
        found[name] = {
            "phrases": len(several),
            "languages": len({each.language for each in several}),
            "right": round(1 - len(wrong) / len(several), 4),
            "right_by_kind": {kind: round(1 - lost[kind] / count, 3) for kind, count in kinds.items()},
            "wrong_by_language": dict(Counter(each.language for each in wrong).most_common()),
            "wrong": [f"{each.language}: {each.text}" for each in wrong[:: max(1, len(wrong) // 30)]],
        }
    return found


def _readings(text: str) -> Iterator[list[tuple[date, date] | None]]:
    """The days of the chips; of one that means either of two days, as 03/04/2023 does, each by itself."""
    chips = understand(text, today=TODAY).chips
    if len(chips) == 1 and chips[0].where.startswith("("):
        for where in chips[0].where.strip("()").split(" or "):
            yield days_of([replace(chips[0], where=where)])
    else:
        yield days_of(chips)


def false() -> dict[str, Any]:
    """The share of questions that say neither when nor where and are understood to."""
    asked = [line for line in NEGATIVES.read_text(encoding="utf-8").splitlines() if line]
    names = [path.stem.replace("-", " ") for path in sorted(Path(str(tour.IMAGES)).rglob("*.png"))]
    triggered = [each for each in (*asked, *names) if understand(each, today=TODAY).chips]
    count = len(asked) + len(names)
    return {"negatives": count, "false": round(len(triggered) / count, 4), "false_ones": triggered[:20]}


def speed() -> dict[str, Any]:
    """Milliseconds of processor time of a question: warm, and the first one of a process."""
    understand("photos from Rome in 2019", today=TODAY)  # the tables are read
    times = []
    for each in phrases():
        begun = time.process_time()
        understand(each.text, today=TODAY)
        times.append((time.process_time() - begun) * 1000)
    times.sort()
    cold = {
        name: statistics.median(float(_run(COLD.format(text=text))) for _ in range(5))
        for name, text in {
            "plain": "a dog on a sofa",
            "date": "am Strand im Juli 2023",
            "place": "photos from Rome",
        }.items()
    }
    return {
        "warm_cpu_ms": {"median": round(statistics.median(times), 3), "p99": round(times[int(len(times) * 0.99)], 3)},
        "cold_cpu_ms": {name: round(value, 1) for name, value in cold.items()},
    }


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
