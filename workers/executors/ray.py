"""Workers on a Ray cluster: each is an actor, placed where its GPU or its cores are (extra ``ray``).

The rule: Ray restarts nothing by itself. An actor that dies, with its node or alone, is one shard's WorkerDied, and the
next order of its slot starts another one, wherever there is room.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from connector.errors import ConfigError, WorkerDied
from connector.extras import require
from connector.settings import Settings
from workers.executors.executor import AnyWorker, OnHeartbeat
from workers.executors.processes import PER_GPU, Start, portable, start_worker
from workers.executors.slots import Slots
from workers.pipeline.counters import HEARTBEAT_S, Heartbeat, ShardReport
from workers.records import Prepared, Shard


def ray_executor(settings: Settings) -> Slots:
    """Actors for these settings: as many as asked for, else three for each GPU of the cluster, or one a node.

    Raises ConfigError where Ray is not installed or its cluster cannot be reached.
    """
    address = settings.ingest.ray_address
    connect(address)
    import ray

    cluster: Any = ray
    gpus = int(cluster.cluster_resources().get("GPU", 0))
    nodes = sum(node["Alive"] for node in cluster.nodes())
    count = settings.ingest.workers or PER_GPU * gpus or nodes
    share = gpus / count if gpus else 0.0
    start = partial(start_worker, settings)
    return Slots(lambda _: Actor(start, gpus=share), count=lambda _: count)


def connect(address: str | None) -> None:
    """Join the Ray cluster at ``address``, or the one of this machine. Raises ConfigError."""
    require("ray", what="ingest.executor = ray")
    import ray

    if ray.is_initialized():
        return
    try:
        ray.init(address=address, log_to_driver=True, configure_logging=False, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise ConfigError(
            f"there is no Ray cluster at {address or 'this machine'}: {error}. Start one with `ray start --head`, or "
            "name its head with --ray-address ray://host:10001."
        ) from error


class Actor:
    """A worker in an actor. ``gpus`` is its share of one: Ray places it where that is free, and shows it that GPU."""

    def __init__(self, start: Start, *, gpus: float) -> None:
        import ray

        kind: Any = ray.remote(_Inside)
        placed = kind.options(
            num_cpus=1, num_gpus=gpus, max_restarts=0, max_concurrency=2, scheduling_strategy="SPREAD"
        )
        self._actor: Any = placed.remote(start)
        self._ready = False

    def ready(self) -> None:
        """See ``Remote``: Ray looks for a place, for as long as it takes."""
        self._answer(self._actor.start.remote(), on_heartbeat=lambda _: None)
        self._ready = True

    def prepare(self, *, recreate: bool) -> Prepared:
        """See ``AnyWorker``."""
        prepared: Prepared = self._answer(self._actor.prepare.remote(recreate), on_heartbeat=lambda _: None)
        return prepared

    def work(self, shard: Shard, *, on_heartbeat: OnHeartbeat) -> ShardReport:
        """See ``AnyWorker``."""
        done: ShardReport = self._answer(self._actor.work.remote(shard), on_heartbeat=on_heartbeat)
        return done

    def close(self) -> None:
        """End the actor with whatever it works on."""
        import ray

        ray.kill(self._actor, no_restart=True)

    def _answer(self, answer: Any, *, on_heartbeat: OnHeartbeat) -> Any:
        """Wait for an answer, and listen to the actor meanwhile."""
        import ray
        from ray.exceptions import RayError

        try:
            while not ray.wait([answer], timeout=HEARTBEAT_S)[0]:
                if self._ready:
                    for heartbeat in ray.get(self._actor.heartbeats.remote()):
                        on_heartbeat(heartbeat)
            result, failure = ray.get(answer)
        except RayError as error:
            raise WorkerDied(f"its Ray actor is gone: {_first_line(error)}", working=self._ready) from error
        if failure is not None:
            raise failure
        return result


class _Inside:
    """The actor: a worker, and what it has said since somebody last listened.

    Answers are results or failures: Ray would wrap an exception in one of its own.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self._worker: AnyWorker | None = None
        self._lock = threading.Lock()
        self._heartbeats: list[Heartbeat] = []

    def start(self) -> tuple[None, Exception | None]:
        try:
            self._worker = self._start()
        except Exception as failure:  # noqa: BLE001  (the outermost frame of the work; raised by the caller)
            return None, portable(failure)
        return None, None

    def prepare(self, recreate: bool) -> tuple[Prepared | None, Exception | None]:
        return self._call(lambda worker: worker.prepare(recreate=recreate))

    def work(self, shard: Shard) -> tuple[ShardReport | None, Exception | None]:
        return self._call(lambda worker: worker.work(shard, on_heartbeat=self._keep))

    def heartbeats(self) -> list[Heartbeat]:
        with self._lock:
            sent, self._heartbeats = self._heartbeats, []
            return sent

    def _keep(self, heartbeat: Heartbeat) -> None:
        with self._lock:
            self._heartbeats.append(heartbeat)

    def _call(self, call: Callable[[AnyWorker], Any]) -> tuple[Any, Exception | None]:
        assert self._worker is not None
        try:
            return call(self._worker), None
        except Exception as failure:  # noqa: BLE001  (the outermost frame of the work; raised by the caller)
            return None, portable(failure)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
