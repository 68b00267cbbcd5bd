"""What the server counts and measures, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from tl_keras.serving.store import Store

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)
NOBODY = "unknown"  # the model of requests for one that there is not: clients must not make up names here


class Metrics:
    """The numbers of one application.

    Args:
        store: whose models they are of; it is told where to count batches and failed loads.

    >>> Metrics(Store(Path("saved_models"))).page().startswith(b"# HELP")
    True
    """

    def __init__(self, store: Store):
        self._store = store
        self._registry = CollectorRegistry()
        asked, here = ("model", "verb"), self._registry
        self._requests = Counter("tl_keras_requests", "Requests answered", (*asked, "code"), registry=here)
        self._seconds = Histogram(
            "tl_keras_request_seconds", "From its head to its answer", asked, buckets=SECONDS, registry=here
        )
        self._batches = Histogram(
            "tl_keras_batch_rows", "Rows that ran together", ("model",), buckets=ROWS, registry=here
        )
        self._failures = Counter(
            "tl_keras_reloads_failed", "Versions that could not be loaded", ("model",), registry=here
        )
        self._registry.register(_Now(store))
        ProcessCollector(registry=self._registry)
        store.seen = lambda model, rows: self._batches.labels(model).observe(rows)
        store.failed = lambda model: self._failures.labels(model).inc()

    def answered(self, model: str, verb: str, code: int, seconds: float) -> None:
        """Count a request."""
        name = model if self._store.knows(model) else NOBODY
        self._requests.labels(name, verb, code).inc()
        self._seconds.labels(name, verb).observe(seconds)

    def page(self) -> bytes:
        """All numbers, in Prometheus' text format."""
        return generate_latest(self._registry)


class _Now(Collector):
    """What is read off when it is asked for."""

    def __init__(self, store: Store):
        self._store = store

    def collect(self) -> Iterable[Metric]:
        queue = GaugeMetricFamily("tl_keras_queue_rows", "Rows that wait", labels=("model", "version"))
        answer = GaugeMetricFamily("tl_keras_version_loaded", "Versions that answer", labels=("model", "version"))
        for model, versions in self._store.answering().items():
            for version in versions:
                queue.add_metric((model, str(version.number)), version.batcher.waiting)
                answer.add_metric((model, str(version.number)), 1)
        return queue, answer
