"""What the server counts, in Prometheus' text format at `/metrics`. Each app has a registry of its own; nothing is sent anywhere."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("noria_requests", "Requests by route and status.", ("route", "status"), registry=self.registry)
        self.seconds = Histogram("noria_request_seconds", "Time to the end of the answer.", ("route",), buckets=_SECONDS, registry=self.registry)
        self.first_token = Histogram("noria_first_token_seconds", "Time to the first piece of an answer.", buckets=_SECONDS, registry=self.registry)
        self.tokens = Counter("noria_tokens", "Tokens by kind: prompt or completion.", ("kind",), registry=self.registry)
        self.active = Gauge("noria_active_chats", "Chat requests being answered.", registry=self.registry)
        self.errors = Counter("noria_errors", "Failed requests by error code.", ("code",), registry=self.registry)
        self.cancelled = Counter("noria_cancelled_chats", "Chat requests whose client went away.", registry=self.registry)
        self.feedback = Counter("noria_feedback", "Feedback by kind.", ("kind",), registry=self.registry)
        self.engines = Gauge("noria_engines_loaded", "Engines in memory.", registry=self.registry)
        self.live = Gauge("noria_live_release_number", "Number of the live release.", registry=self.registry)

    def text(self) -> bytes:
        """All counters in the exposition format."""
        return generate_latest(self.registry)
