"""A bucket's notifications in an SQS queue: read in all their shapes, deleted once what they tell is stored."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from filelock import FileLock

from connector.errors import SourceError
from connector.settings import Settings
from connector.store.edge.shared import SharedEngine
from tests.images import image
from tests.scratch import scratch_folder
from tests.watch_scene import COLLECTION, Scene, until
from workers.run.metrics import WatchMetrics
from workers.sources.open import open_source
from workers.sources.s3 import S3Source
from workers.watch.queue import QueueFeed, parse_message
from workers.watch.watch import Watcher

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient


def s3_event(bucket: str, key: str, event: str = "ObjectCreated:Put") -> str:
    """As S3 sends it: the key is encoded like a form."""
    record = {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
    return json.dumps({"Records": [record]})


def eventbridge(bucket: str, key: str, kind: str = "Object Created") -> str:
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    return json.dumps({"source": "aws.s3", "detail-type": kind, "detail": detail})


@pytest.mark.parametrize(
    ("body", "uris"),
    [
        (s3_event("b", "a+dog%2B1.jpg"), ["s3://b/a dog+1.jpg"]),
        (s3_event("b", "%C3%BC.jpg", "ObjectRemoved:DeleteMarkerCreated"), ["s3://b/ü.jpg"]),
        (json.dumps({"TopicArn": "arn:x", "Message": s3_event("b", "x.jpg")}), ["s3://b/x.jpg"]),
        (eventbridge("b", "a dog+1.jpg"), ["s3://b/a dog+1.jpg"]),
        (json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}), []),
    ],
)
def test_messages_of_every_shape_name_the_object(body: str, uris: list[str]) -> None:
    assert list(parse_message(body)) == uris


@pytest.mark.parametrize(
    "body", ["", "hello", "[]", "3", '{"Records": [{}]}', '{"TopicArn": "x", "Message": "no"}', "{}"]
)
def test_what_is_no_such_message_says_so(body: str) -> None:
    with pytest.raises(ValueError, match="no event of S3, SNS or EventBridge"):
        list(parse_message(body))


def test_a_queue_that_cannot_be_asked_says_so_at_once(moto: str, bucket: str, s3: "S3Client") -> None:
    del s3
    settings = Settings.load({"s3.endpoint_url": moto})
    source = open_source(f"s3://{bucket}", settings=settings)
    assert isinstance(source, S3Source)
    with pytest.raises(SourceError, match="cannot be asked"):
        QueueFeed(source, url=f"{moto}/123456789012/none", settings=settings.s3)
    source.close()


@pytest.fixture
def queue(moto: str) -> Iterator[tuple["SQSClient", str]]:
    """A client and the address of a queue of the test's own."""
    client = boto3.client("sqs", endpoint_url=moto, region_name="us-east-1")
    url = client.create_queue(QueueName=f"q{time.monotonic_ns()}")["QueueUrl"]
    yield client, url
    client.close()


def left(client: "SQSClient", url: str) -> int:
    """Messages in the queue, those included that somebody has and has not deleted."""
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(map(int, client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))


@contextmanager
def watched(scene: Scene, place: str, *, url: str) -> Iterator[Watcher]:
    settings = scene.settings
    source = open_source(place, settings=settings)
    assert isinstance(source, S3Source)
    feed = QueueFeed(source, url=url, settings=settings.s3)
    watcher = Watcher(
        source, place=place, settings=settings, feed=feed, workers=scene.workers, wait=lambda _: nullcontext()
    )
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        until(lambda: watcher.health()["last_pass"] is not None)
        yield watcher
    finally:
        watcher.stop()
        thread.join(60)
        source.close()


@pytest.mark.slow
def test_a_bucket_is_followed_and_its_messages_go_when_all_is_stored(
    moto: str, bucket: str, s3: "S3Client", queue: tuple["SQSClient", str], tmp_path: Path
) -> None:
    client, url = queue
    s3.put_object(Bucket=bucket, Key="in/a.png", Body=image(1))
    with scratch_folder() as folder:
        scene = Scene(tmp_path, folder / "data", {"s3.endpoint_url": moto})
        with watched(scene, f"s3://{bucket}/in", url=url) as watcher:
            s3.put_object(Bucket=bucket, Key="in/b 1.png", Body=image(2))
            s3.put_object(Bucket=bucket, Key="in/c.png", Body=image(3))
            s3.put_object(Bucket=bucket, Key="out/d.png", Body=image(4))
            s3.delete_object(Bucket=bucket, Key="in/a.png")
            for body in (
                s3_event(bucket, "in/b+1.png"),
                json.dumps({"TopicArn": "arn:x", "Message": s3_event(bucket, "in/c.png")}),
                eventbridge(bucket, "out/d.png"),
                s3_event(bucket, "in/a.png", "ObjectRemoved:Delete"),
                s3_event(bucket, "in/c.png", "ObjectRemoved:Delete"),  # late: it is there again
                json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}),
            ):
                client.send_message(QueueUrl=url, MessageBody=body)
            until(lambda: left(client, url) == 0)
            until(lambda: watcher.health()["waiting"] == 0)

            s3.put_object(Bucket=bucket, Key="in/c.json", Body=b'{"album": "Norderney"}')
            client.send_message(QueueUrl=url, MessageBody=s3_event(bucket, "in/c.json"))
            until(lambda: left(client, url) == 0)
            until(lambda: watcher.health()["waiting"] == 0)

            engine = SharedEngine.open(scene.data, collection=COLLECTION)
            album = [point.payload.get("meta") for point in engine.scroll(limit=10).points]
            assert {"album": "Norderney"} in album
            found = {str(point.payload["object_key"]) for point in engine.scroll(limit=10).points}
            assert found == {f"{bucket}/in/b 1.png", f"{bucket}/in/c.png"}
            engine.close()

            with FileLock(scene.data / COLLECTION / "lock", timeout=30):  # whoever has the collection open hangs
                s3.put_object(Bucket=bucket, Key="in/e.png", Body=image(5))
                client.send_message(QueueUrl=url, MessageBody=s3_event(bucket, "in/e.png"))
                until(lambda: watcher.health()["error"] is not None)
                assert left(client, url) == 1
            until(lambda: left(client, url) == 0)
    assert scene.embedded == 4


def test_what_is_said_of_no_image_removes_none(
    moto: str, bucket: str, s3: "S3Client", queue: tuple["SQSClient", str], tmp_path: Path
) -> None:
    client, url = queue
    keys = {"in/a.png", "in/notes/b.png"}
    for number, key in enumerate(keys):
        s3.put_object(Bucket=bucket, Key=key, Body=image(number))
    with scratch_folder() as folder:
        scene = Scene(tmp_path, folder / "data", {"s3.endpoint_url": moto})
        with watched(scene, f"s3://{bucket}/in", url=url) as watcher:
            for body in (
                json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}),
                *(s3_event(bucket, key, "ObjectRemoved:Delete") for key in ("in", "in/", "in/notes", "in/notes/")),
            ):
                client.send_message(QueueUrl=url, MessageBody=body)
            until(lambda: left(client, url) == 0)
            until(lambda: watcher.health()["waiting"] == 0)

        engine = SharedEngine.open(scene.data, collection=COLLECTION)
        assert {str(point.payload["object_key"]) for point in engine.scroll(limit=10).points} == {
            f"{bucket}/{key}" for key in keys
        }
        engine.close()


def test_a_watcher_is_not_healthy_while_its_bucket_cannot_be_listed(
    moto: str, bucket: str, s3: "S3Client", tmp_path: Path
) -> None:
    scene = Scene(tmp_path, tmp_path / "data", {"s3.endpoint_url": moto})
    with closing(open_source(f"s3://{bucket}/in", settings=scene.settings)) as source:
        watcher = Watcher(
            source,
            place=f"s3://{bucket}/in",
            settings=scene.settings,
            feed=None,
            workers=scene.workers,
            wait=lambda _: nullcontext(),
        )
        assert watcher.health()["healthy"]
        s3.delete_bucket(Bucket=bucket)
        health = watcher.health()
        assert (health["healthy"], bucket in str(health["error"])) == (False, True)
        s3.create_bucket(Bucket=bucket)
        assert watcher.health()["healthy"]


def test_messages_that_are_none_stay_in_the_queue(
    moto: str, bucket: str, queue: tuple["SQSClient", str], caplog: pytest.LogCaptureFixture
) -> None:
    from prometheus_client import CollectorRegistry

    from workers.watch.changes import Changes

    client, url = queue
    settings = Settings.load({"s3.endpoint_url": moto})
    source = open_source(f"s3://{bucket}", settings=settings)
    assert isinstance(source, S3Source)
    changes = Changes(WatchMetrics(registry=CollectorRegistry(), source=source.root))
    client.send_message(QueueUrl=url, MessageBody="hello")
    client.send_message(QueueUrl=url, MessageBody=s3_event(bucket, "x.jpg"))
    over = threading.Event()
    feed = QueueFeed(source, url=url, settings=settings.s3)
    thread = threading.Thread(target=feed.watch, args=(changes,), kwargs={"over": over})
    thread.start()
    until(lambda: len(changes) == 1 and bool(caplog.records))
    over.set()
    thread.join()
    feed.done(changes.take())

    assert left(client, url) == 1
    assert "sqs_message_ignored" in caplog.text
    source.close()
