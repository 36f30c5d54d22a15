"""Make docs/performance.md and its plots from benchmarks/results: ``python -m benchmarks.report``.

The rule: not a figure on the page that no file holds; what has not been measured says so, with the command.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results"
CHANGES = Path(__file__).parent / "changes.json"
DOCS = Path(__file__).parents[1] / "docs"
PLOTS = DOCS / "performance"
BLUE, GREY, GREEN, RED = "#2f6fb0", "#b8bec6", "#3a9a5b", "#c4574a"


def main() -> None:
    """Write the page and the plots."""
    PLOTS.mkdir(exist_ok=True)
    (DOCS / "performance.md").write_text("\n".join(_page()) + "\n", encoding="utf-8")
    print(DOCS / "performance.md")


def _page() -> Iterator[str]:
    yield "# Performance\n"
    yield "Made by `python -m benchmarks.report` (`make performance`) from `benchmarks/results/*.json`, which hold machine, commit,"
    yield "command and samples. The models are random-weight twins of ViT-B/32 in full size: their arithmetic is the real one's.\n"
    for title, name, command, section in SECTIONS:
        yield f"## {title}\n"
        record = _record(name)
        if record is None:
            yield f"Not measured yet: `{command}`.\n"
            continue
        yield _circumstances(record)
        yield from section(record["results"])
        yield ""
    yield from _changes()
    yield from _awaits()


def _record(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _circumstances(record: dict[str, Any]) -> str:
    machine = record["machine"]
    device = machine.get("gpu") or f"{machine['cores']} cores, {machine['processor']}"
    return f"`{record['command']}` at {record['commit']}, {record['taken_at'][:10]}, {device}.\n"


# ------------------------------------------------------------------------------------------------------------ sections


def _decode(results: dict[str, Any]) -> Iterator[str]:
    methods = [method for method in ("reference", "pillow", "simplejpeg", "bare") if method in results]
    names = {
        "reference": "CLIP in Pillow",
        "pillow": "polyglance, Pillow",
        "simplejpeg": "polyglance, simplejpeg",
        "bare": "bare calls",
    }
    kinds = list(results["reference"])
    yield f"| images a second of one core | {' | '.join(names[method] for method in methods)} | apart, most / mean |"
    yield f"| --- |{' --- |' * (len(methods) + 1)}"
    for kind in kinds:
        rates = [results[method].get(kind, {}).get("images_per_core_second", {}).get("median") for method in methods]
        apart = results["simplejpeg"][kind]["difference"]
        shown = " | ".join("–" if rate is None else f"{rate:,.0f}" for rate in rates)
        yield f"| {kind} | {shown} | {apart['most']} / {apart['mean']:.3f} |"
    jpegs = [kind for kind in kinds if kind.startswith("jpeg")]
    groups = {
        names[method]: [results[method][kind]["images_per_core_second"]["median"] for kind in jpegs]
        for method in methods
    }
    yield _bars("decode", jpegs, groups, label="images a second of one core", logarithmic=True)


def _forward(results: dict[str, Any]) -> Iterator[str]:
    work = results["gflop_per_image"]
    yield f"One image takes {work['transformers']} GFLOP in transformers' pass and {work['polyglance']} in ours.\n"
    yield "| tower | device | precision | batch | threads | compiled | images a second | share of the matrix limit |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in results["rows"]:
        share = f"{row['share_of_limit']:.0%}" if "share_of_limit" in row else "–"
        yield (
            f"| {row['tower']} | {row['device']} | {row['precision']} | {row['batch']} | {row['callers']} | "
            f"{'yes' if row['compiled'] else 'no'} | {row['images_per_second']:,.1f} | {share} |"
        )
    alone = [
        row for row in results["rows"] if row["callers"] == 1 and not row["compiled"] and row["tower"] != "transformers"
    ]
    labels = sorted({row["batch"] for row in alone})
    groups = {
        way: [next((r["images_per_second"] for r in alone if _way(r) == way and r["batch"] == b), 0.0) for b in labels]
        for way in dict.fromkeys(_way(row) for row in alone)
    }
    yield _bars("forward", [f"batch {label}" for label in labels], groups, label="images a second")


def _way(row: dict[str, Any]) -> str:
    return f"{row['device']}, {row['precision']}"


def _ingest(results: dict[str, Any]) -> Iterator[str]:
    against = results["against_plain_script"]
    yield "| JPEGs | plain script | polyglance | ratio | from S3 | share of what decode and forward allow |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for size, found in against.items():
        ours, plain = found["polyglance_images_per_second"], found["plain_images_per_second"]
        s3 = f"{found['s3']['images_per_second']:.1f}" if "s3" in found else "–"
        yield (
            f"| {size} | {plain['median']:.1f} | {ours['median']:.1f} | **{found['ratio']['median']:.1f}** "
            f"({found['ratio']['least']:.1f}–{found['ratio']['greatest']:.1f}) | {s3} | {found['share_of_limit']:.0%} |"
        )
    groups = {
        "plain script": [found["plain_images_per_second"]["median"] for found in against.values()],
        "polyglance": [found["polyglance_images_per_second"]["median"] for found in against.values()],
    }
    yield _bars("ingest", list(against), groups, label="images a second, end to end")
    for size, found in against.items():
        if "busy" in found:
            yield f"Where the time goes at {size}: {_busy(found['busy'])}."
    yield from _growth(results)


def _growth(results: dict[str, Any]) -> Iterator[str]:
    if "growth" not in results:
        return
    yield "\n| images | ms an image | peak MiB | busy |\n| --- | --- | --- | --- |"
    for count, found in results["growth"].items():
        yield f"| {int(count):,} | {found['ms_per_image']:.2f} | {found['peak_mib']:,.0f} | {_busy(found['busy'])} |"


def _busy(shares: dict[str, float]) -> str:
    return ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items())


def _sources(results: dict[str, Any]) -> Iterator[str]:
    yield "| 500x375 JPEGs | images a second | processor ms each |\n| --- | --- | --- |"
    for name, found in results.items():
        if isinstance(found, dict) and "images_per_second" in found:
            yield f"| {name} | {found['images_per_second']['median']:,.0f} | {found.get('cpu_ms_per_image', '–')} |"


def _tune(results: dict[str, Any]) -> Iterator[str]:
    yield "| space and images | predicted a second | real | predicted / real | limit |\n| --- | --- | --- | --- | --- |"
    for name, found in results.items():
        yield (
            f"| {name} | {found['predicted_images_per_second']:,.1f} | {found['real_images_per_second']:,.1f} | "
            f"{found['predicted_over_real']:.2f} | {found['limit']} |"
        )


def _scale(results: dict[str, Any]) -> Iterator[str]:
    asked, disk, planned = results["asked"], results["disk_bytes_per_point"], results["planned_bytes_per_point"]
    yield f"| {results['points']:,} points of 512 dims | |\n| --- | --- |"
    yield f"| written | {results['points_per_second']:,.0f} points a second |"
    yield f"| graph built | {results['optimize_seconds']:,.1f} s |"
    yield f"| peak memory | {results['peak_mib_writing']:,.0f} MiB writing, {results['peak_mib_optimizing']:,.0f} optimizing |"
    yield f"| opened again, first answer | {asked['first_answer_seconds']:.2f} s |"
    yield f"| query p50 / p95 / p99 | {_three(asked['query_ms'])} ms; recall@10 {asked['recall_at_10']:.3f} |"
    yield f"| filtered query | {_three(asked['filtered_query_ms'])} ms |"
    memory, resident = asked["memory_mib"], planned["memory"]
    yield f"| memory after asking | {memory['own']:,.0f} MiB its own, {memory['of_files']:,.0f} of files |"
    yield "\n| bytes of a point in memory | measured | `polyglance plan` |\n| --- | --- | --- |"
    kinds = {
        "own": ("codes", "ids", "codes, ids, and what a process takes anyway"),
        "of_files": (
            "graph",
            "cache",
            "files: graph, indexes, and all vectors, which the exact questions for recall read",
        ),
    }
    for kind, (*parts, name) in kinds.items():
        wanted = sum(resident[part] for part in parts)
        yield f"| {name} | {memory[kind] * 2**20 / results['points']:,.0f} | {wanted:,.0f} |"
    yield "\n| bytes of a point on disk | measured | `polyglance plan` |\n| --- | --- | --- |"
    for kind, size in disk.items():
        wanted = (
            sum(planned["disk"].values()) if kind == "all" else planned["disk"].get({"other": "ids"}.get(kind, kind))
        )
        yield f"| {kind} | {size:,.0f} | {'–' if wanted is None else f'{wanted:,.0f}'} |"


def _three(found: dict[str, float]) -> str:
    return " / ".join(f"{found[name]:.2f}" for name in ("p50", "p95", "p99"))


def _runs(results: dict[str, Any]) -> Iterator[str]:
    unchanged, counts = results["unchanged"], results["counts"]
    yield f"| {unchanged['images']:,} images that are stored already | a second | busy |\n| --- | --- | --- |"
    for name in ("disk", "s3"):
        found = unchanged[name]
        yield f"| {name} | {_median(found['images_per_second'])} | {_busy(found['busy'])} |"
    yield f"\nListing, shards and run files take {counts['overhead']:.1%} of a run's time"
    yield f"({counts['run_s']['median']:.2f} s against {counts['pipeline_s']['median']:.2f} s of the pipeline alone)."
    if "executors" in results:
        executors = results["executors"]
        yield f"Two workers into the tests' stand-in of a server: {_median(executors['local']['images_per_second'])} images a"
        yield f"second as processes, {_median(executors['ray']['images_per_second'])} as Ray actors."


def _median(found: dict[str, Any]) -> str:
    return f"{found['median']:,.0f} ({found['least']:,.0f}–{found['greatest']:,.0f})"


def _start(results: dict[str, Any]) -> Iterator[str]:
    yield "The baseline is another checkout, in turns in the same run. Wall-clock, and of it the processor's own time, which other work"
    yield "on the machine does not count in: median (least–greatest).\n"
    yield "| a start of | baseline, s | here, s | ratio | processor, baseline | processor, here |\n| --- | --- | --- | --- | --- | --- |"
    for name, found in results.items():
        cells = [_seconds(found[who][what]) for what in ("wall_s", "processor_s") for who in ("baseline", "here")]
        yield f"| `{name}` | {cells[0]} | {cells[1]} | {found['ratio']:.1f} | {cells[2]} | {cells[3]} |"


def _idle(results: dict[str, Any]) -> Iterator[str]:
    yield f"Seconds of processor time to find that none of {results['images']} images is new: median (least–greatest).\n"
    yield "| what | processor |\n| --- | --- |"
    for place, taken in results["ingest"].items():
        yield f"| `polyglance ingest` of {place}, from start to end | {_seconds(taken['processor_s'])} s |"
    found = results["watch pass"]["processor_ms"]
    each = f"{found['median']:.0f} ({found['least']:.0f}–{found['greatest']:.0f})"
    yield f"| one full pass of `polyglance watch` | {each} ms |"


def _seconds(found: dict[str, Any]) -> str:
    return f"{found['median']:.2f} ({found['least']:.2f}–{found['greatest']:.2f})"


def _query(results: dict[str, Any]) -> Iterator[str]:
    yield "| p50 / p95 / p99, ms | text | search | words to hits |\n| --- | --- | --- | --- |"
    rows = {f"polyglance, {runtime}": found for runtime, found in results["towers"].items()}
    rows[f"plain script, {results['plain']['points']:,} points"] = results["plain"]
    for name, found in rows.items():
        times = " | ".join(_three(found[part]) for part in ("text_ms", "search_ms", "words_to_hits_ms"))
        yield f"| {name} | {times} |"
    yield "\n| filter | search, ms | recall@10 |\n| --- | --- | --- |"
    for name, times in results["filters_ms"].items():
        yield f"| {name} | {_three(times)} | {results['recall_at_10'][name]:.4f} |"
    memory = results["memory_without_model"]
    yield (
        f"\nResident without a model: {memory['resident_mib']:,.0f} MiB ({memory['anonymous_mib']:,.0f} its own, "
        f"{memory['before_mib']:,.0f} before the collection was opened); on disk {results['disk_mib']:,.0f} MiB."
    )


def _service(results: dict[str, Any]) -> Iterator[str]:
    yield "| callers | batched: a second, p50 / p99 ms | alone: a second, p50 / p99 ms | gain | texts in a pass |"
    yield "| --- | --- | --- | --- | --- |"
    for name, found in results.items():
        if isinstance(found, dict) and "gain" in found:
            shown = [
                f"{arm['per_second']['median']:,.0f}, {arm['p50_ms']['median']:,.0f} / {arm['p99_ms']['median']:,.0f}"
                for arm in (found["batched"], found["alone"])
            ]
            texts = found["batched"]["texts_in_a_pass"]["median"]
            yield f"| {name} | {shown[0]} | {shown[1]} | {found['gain']['median']:.1f} | {texts:.1f} |"


def _soak(results: dict[str, Any]) -> Iterator[str]:
    memory = results["memory_mib"]
    yield (
        f"{results['answers']:,} answers to {results['clients']} callers in {results['seconds']:.0f} s, by status "
        f"{results['statuses']}; memory {memory['second quarter']:,.0f} MiB in the second quarter, "
        f"{memory['last quarter']:,.0f} in the last ({results['growth']:+.1%})."
    )


def _gpu(results: dict[str, Any]) -> Iterator[str]:
    whole = results["end_to_end"]
    yield f"End to end in one process: {whole['images_per_second']:,.0f} images a second ({_busy(whole['busy'])}).\n"
    yield "| processes that decode and embed | images a second |\n| --- | --- |"
    for count, rate in results["processes"].items():
        yield f"| {count} | {rate:,.0f} |"


def _changes() -> Iterator[str]:
    record = json.loads(CHANGES.read_text(encoding="utf-8"))
    yield "## Before and after\n"
    yield f"{record['machine']}. What did not help is here too, so that nobody need try it again.\n"
    yield "| change | before | after | |\n| --- | --- | --- | --- |"
    for change in record["changes"]:
        yield f"| {change['change']} | {change['before']} | {change['after']} | {'kept' if change['kept'] else 'not kept'} |"


def _awaits() -> Iterator[str]:
    yield "\n## What awaits a GPU\n"
    yield "No GPU has run this code. `make bench-gpu` (where there is no network: `PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels make bench-gpu`)"
    yield "runs the tests marked `gpu`, the forward pass by precision, batch and compiling, and ingestion from end to end, in under nine"
    yield "minutes. The aims on an H100 with 16 cores, 35,000 images a second forward and 10,000 from end to end, are aims and no results."


SECTIONS: Sequence[tuple[str, str, str, Callable[[dict[str, Any]], Iterator[str]]]] = (
    ("From end to end", "ingest", "python -m benchmarks.bench_ingest", _ingest),
    ("Decoding", "decode", "python -m benchmarks.bench_decode", _decode),
    ("The forward pass", "forward", "python -m benchmarks.bench_forward", _forward),
    ("Reading", "sources", "python -m benchmarks.bench_sources", _sources),
    ("Runs", "runs", "python -m benchmarks.bench_runs", _runs),
    ("Cold starts", "start", "python -m benchmarks.bench_start --baseline PATH", _start),
    ("With nothing to do", "idle", "python -m benchmarks.bench_idle", _idle),
    ("From words to hits: 100,000 points", "query_100000", "python -m benchmarks.bench_query --points 100000", _query),
    (
        "From words to hits: 1,000,000 points",
        "query_1000000",
        "python -m benchmarks.bench_query --points 1000000",
        _query,
    ),
    (
        "The service, text tower by torch",
        "service-torch",
        "python -m benchmarks.bench_service --set model.text_runtime=torch",
        _service,
    ),
    ("The service, text tower as it chooses", "service", "python -m benchmarks.bench_service", _service),
    ("The service for long", "service_soak", "python -m benchmarks.bench_service --soak 600", _soak),
    ("What tune predicts", "tune", "python -m benchmarks.bench_tune", _tune),
    ("100,000 points", "scale-100000", "python -m benchmarks.bench_scale --points 100000", _scale),
    ("1,000,000 points", "scale-1000000", "python -m benchmarks.bench_scale --points 1000000", _scale),
    ("On a GPU", "gpu", "make bench-gpu", _gpu),
)


# --------------------------------------------------------------------------------------------------------------- plots


def _bars(
    name: str, labels: Sequence[str], groups: dict[str, list[float]], *, label: str, logarithmic: bool = False
) -> str:
    """Grouped bars as docs/performance/NAME.png; the line of Markdown that shows them."""
    figure, axes = plt.subplots(figsize=(7, 3.2), dpi=100, layout="constrained")
    width = 0.8 / len(groups)
    for number, (group, values) in enumerate(groups.items()):
        places = [at + (number - (len(groups) - 1) / 2) * width for at in range(len(labels))]
        bars = axes.bar(places, values, width, label=group, color=[GREY, BLUE, GREEN, RED][number % 4])
        axes.bar_label(bars, fmt=lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}", fontsize=7)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel(label)
    if logarithmic:
        axes.set_yscale("log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(PLOTS / f"{name}.png", metadata={"Software": None})
    plt.close(figure)
    return f"\n![{label}](performance/{name}.png)\n"


if __name__ == "__main__":
    main()
