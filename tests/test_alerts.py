"""What ships for Prometheus: the configuration is valid, rules speak of metrics there are and fire when they should."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from connector.service.metrics import Metrics as ServiceMetrics
from connector.settings import Settings
from workers.run.metrics import Metrics, WatchMetrics
from workers.watch.probe import Probe

FOLDER = Path(__file__).parents[1] / "docs/grafana"
RULES = {rule["alert"]: rule for rule in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]}
pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool on the PATH (apt-get install prometheus)"
)
SERVICE, WATCH = 'job="polyglance-service", instance="api:8000"', 'job="polyglance-watch", instance="watch:9100"'
IMAGES = "polyglance_ingest_images_total{" + WATCH + ', outcome="%s"}'

FIRES: Mapping[str, tuple[dict[str, str], dict[str, str]]] = {
    "PolyglanceDown": ({"up{" + SERVICE + "}": "0x60"}, {"up{" + SERVICE + "}": "1x60"}),
    "PolyglanceNotReady": (
        {"polyglance_ready{" + SERVICE + "}": "0x60"},
        {"polyglance_ready{" + SERVICE + "}": "1 0 1 0 1x60", "polyglance_watch_ready{" + WATCH + "}": "1x60"},
    ),
    "PolyglanceErrors": (
        {
            "polyglance_requests_total{" + SERVICE + ', status="503"}': "0+6x60",
            "polyglance_requests_total{" + SERVICE + ', status="200"}': "0+60x60",
        },
        {"polyglance_requests_total{" + SERVICE + ', status="200"}': "0+60x60"},
    ),
    "PolyglanceNoProgress": (
        {"polyglance_ingest_images_left{" + WATCH + "}": "7x60", IMAGES % "stored": "5x60"},
        {"polyglance_ingest_images_left{" + WATCH + "}": "7x60", IMAGES % "stored": "0+1x60"},
    ),
    "PolyglanceNoFullPass": (
        {"polyglance_watch_last_full_pass_timestamp_seconds{" + WATCH + "}": "60x300"},
        {"polyglance_watch_last_full_pass_timestamp_seconds{" + WATCH + "}": "0x300"},  # the first is under way
    ),
    "PolyglanceRejects": (
        {IMAGES % "rejected": "0x20 50x40", IMAGES % "stored": "0x20 100x40"},  # a run of seconds
        {IMAGES % "rejected": "0x20 5x40", IMAGES % "stored": "0x20 10x40"},
    ),
    "PolyglanceThrottled": (
        {"polyglance_ingest_throttled_requests_total{" + WATCH + "}": "0x30 300x30"},
        {"polyglance_ingest_throttled_requests_total{" + WATCH + "}": "0x30 30x30"},
    ),
    "PolyglanceDiskLow": (
        {
            "polyglance_disk_free_bytes{" + SERVICE + ', folder="/data"}': "5x60",
            "polyglance_disk_size_bytes{" + SERVICE + ', folder="/data"}': "100x60",
        },
        {
            "polyglance_disk_free_bytes{" + SERVICE + ', folder="/data"}': "50x60",
            "polyglance_disk_size_bytes{" + SERVICE + ', folder="/data"}': "100x60",
        },
    ),
}
"""Series under which each alert fires, and others under which it does not; a value a minute."""


def promtool(*arguments: object) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid_with_its_rules() -> None:
    promtool("check", "config", FOLDER / "prometheus.yml")


def test_every_rule_is_tried() -> None:
    assert set(FIRES) == set(RULES)


@pytest.mark.parametrize("alert", FIRES)
def test_a_rule_fires_when_it_should_and_only_then(alert: str, tmp_path: Path) -> None:
    fires, quiet = FIRES[alert]
    at = "4h" if alert == "PolyglanceNoFullPass" else "30m" if "x40" in str(fires) else "40m"
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
                    "eval_time": at,
                    "exp_samples": [{"labels": "{}", "value": 1}] if firing else [],
                }
            ],
        }
        for series, firing in ((fires, True), (quiet, False))
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "alerts.yml")], "tests": tests}))
    promtool("test", "rules", file)


def test_rules_speak_of_metrics_that_there_are(tmp_path: Path) -> None:
    settings = Settings.load({"qdrant.path": str(tmp_path)})
    ingesting = Metrics(tmp_path)
    WatchMetrics(registry=ingesting.registry, source="file:///photos")
    Probe(settings, registry=ingesting.registry)
    serving = ServiceMetrics()
    serving.note_disk(tmp_path)
    there = names(ingesting.registry) | set(re.findall(rb"^# TYPE (\w+)", serving.exposition(), flags=re.MULTILINE))
    known = {each.decode() for each in there} | {"up", "polyglance_requests_total"}
    for alert, rule in RULES.items():
        assert set(re.findall(r"polyglance_\w+|\bup\b", rule["expr"])) <= known, alert


def names(registry: CollectorRegistry) -> set[Any]:
    return set(re.findall(rb"^# TYPE (\w+)", generate_latest(registry), flags=re.MULTILINE))


def test_a_reject_of_every_reason_is_counted_from_zero() -> None:
    text = generate_latest(Metrics().registry).decode()
    for reason in ("throttled", "truncated", "missing", "zero_vector", "kills_worker"):
        assert f'polyglance_ingest_rejected_images_total{{reason="{reason}"}} 0.0' in text
