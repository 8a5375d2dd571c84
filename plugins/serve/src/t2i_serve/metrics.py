"""What `/metrics` says, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "t2i_requests", "Requests by address and status.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "t2i_request_seconds", "From a request to its answer.", ["path"], buckets=SECONDS, registry=self.registry
        )
        self.pictures = Counter("t2i_pictures", "Pictures drawn, by model.", ["model"], registry=self.registry)
        self.wave = Histogram(
            "t2i_wave_pictures",
            "Pictures drawn together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.pictures_in_flight = Gauge(
            "t2i_pictures_in_flight", "Pictures asked for and not yet answered.", registry=self.registry
        )
        self.models_loaded = Gauge("t2i_models_loaded", "Models in memory.", registry=self.registry)

    def page(self) -> bytes:
        return generate_latest(self.registry)
