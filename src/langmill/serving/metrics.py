"""What the server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The server's counters, in a registry of their own: two servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("langmill_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "langmill_request_seconds", "Seconds from a request's head to the end of its answer.", ["route"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.first_token_seconds = Histogram(
            "langmill_first_token_seconds", "Seconds from a completion's submission to its first token.", ["model"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.prompt_tokens = Counter("langmill_prompt_tokens", "Tokens read.", ["model"], registry=self.registry)
        self.generated_tokens = Counter(
            "langmill_generated_tokens", "Tokens written.", ["model"], registry=self.registry
        )
        self.waiting = Gauge("langmill_waiting_requests", "Requests that wait.", registry=self.registry)
        self.running = Gauge("langmill_running_requests", "Requests that the models work on.", registry=self.registry)
        self.refused = Counter(
            "langmill_requests_turned_away", "Requests refused because too many waited.", registry=self.registry
        )
        self.cancelled = Counter(
            "langmill_requests_cancelled", "Requests whose client went away.", registry=self.registry
        )
        self.truncated = Counter(
            "langmill_truncated_texts", "Texts of which a model read a part, truncated as in training.", ["model"],
            registry=self.registry,
        )  # fmt: skip
        self.connections_closed = Counter(
            "langmill_connections_closed", "Connections closed for what their clients did not do, or for others.",
            ["reason"], registry=self.registry,
        )  # fmt: skip
        self.version = Gauge(
            "langmill_model_version", "The version in service of each model.", ["model"], registry=self.registry
        )
        self.swaps = Counter("langmill_swaps", "Versions taken into service.", ["model"], registry=self.registry)
        self.swap_failures = Counter(
            "langmill_swap_failures", "Versions that were not fit for service.", ["model"], registry=self.registry
        )
        self.registry_failures = Counter(
            "langmill_registry_failures", "Looks at the registry that failed.", ["model"], registry=self.registry
        )
        self.engine_up = Gauge("langmill_engine_up", "Whether the thread that runs the models is at work.",
                               registry=self.registry)  # fmt: skip

    def exposition(self) -> bytes:
        """The counters in Prometheus's text format."""
        return bytes(generate_latest(self.registry))
