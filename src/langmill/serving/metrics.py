"""What the server counts, for Prometheus."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The server's counters, in a registry of their own: two servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        seconds = partial(Histogram, buckets=_SECONDS, registry=self.registry)
        self.requests = counter("langmill_requests", "Requests answered.", ["route", "status"])
        self.seconds = seconds(
            "langmill_request_seconds", "Seconds from a request's head to the end of its answer.", ["route"]
        )
        self.first_token_seconds = seconds(
            "langmill_first_token_seconds", "Seconds from a completion's submission to its first token.", ["model"]
        )
        self.prompt_tokens = counter("langmill_prompt_tokens", "Tokens read.", ["model"])
        self.generated_tokens = counter("langmill_generated_tokens", "Tokens written.", ["model"])
        self.waiting = gauge("langmill_waiting_requests", "Requests that wait.")
        self.running = gauge("langmill_running_requests", "Requests that the models work on.")
        self.refused = counter("langmill_requests_turned_away", "Requests refused because too many waited.")
        self.cancelled = counter("langmill_requests_cancelled", "Requests whose client went away.")
        self.truncated = counter(
            "langmill_truncated_texts", "Texts of which a model read a part, truncated as in training.", ["model"]
        )
        self.connections_closed = counter(
            "langmill_connections_closed", "Connections closed for what their clients did not do, or for others.",
            ["reason"],
        )  # fmt: skip
        self.version = gauge("langmill_model_version", "The version in service of each model.", ["model"])
        self.swaps = counter("langmill_swaps", "Versions taken into service.", ["model"])
        self.swap_failures = counter("langmill_swap_failures", "Versions that were not fit for service.", ["model"])
        self.registry_failures = counter("langmill_registry_failures", "Looks at the registry that failed.", ["model"])
        self.engine_up = gauge("langmill_engine_up", "Whether the thread that runs the models is at work.")
