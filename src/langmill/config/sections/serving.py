"""The HTTP server: conf/serving/."""

from __future__ import annotations

from dataclasses import dataclass

from langmill.config.sections.requirement import require


@dataclass
class Serving:
    """The HTTP server."""

    host: str
    """The address to listen on; 127.0.0.1 answers this machine only."""
    port: int
    """The TCP port; 0 takes a free one."""
    recipes: list[str]
    """The recipes whose champions are served."""
    poll_seconds: float
    """Seconds between two looks at the registry for a new champion."""
    max_prompt_tokens: int
    """A longer prompt is refused."""
    max_new_tokens: int
    """A request for more tokens is refused."""
    max_inputs: int
    """Texts in one classification request, at most."""
    max_body_bytes: int
    """A larger request body is refused."""
    max_beams: int
    """A search with more beams is refused."""
    max_running: int
    """Requests that the models work on by turns; the others wait."""
    max_waiting: int
    """Requests that may wait for their turn; further ones are turned away with 503."""
    drain_seconds: float
    """Seconds that requests in flight get to finish when the server is stopped."""
    api_keys_file: str | None
    """A file with the SHA-256 digest of one key a line, as `langmill key` writes it; requests must then carry a key.
    Null lets anyone in."""
    allowed_hosts: list[str]
    """Names besides those of the loopback address, `host` and the address that is connected to, by which requests may
    call this server in their header Host, without scheme and port. `*` allows any, and with it DNS rebinding."""
    max_connections: int
    """Connections at once, at most; fewer where the limit of open files leaves no room. At the cap the one that has
    been silent longest is closed; if none has, new ones wait."""
    header_seconds: float
    """Seconds for a request's line and headers to arrive, from the connection's or the request's first moment."""
    body_seconds: float
    """Seconds for a request's body to arrive."""
    keep_alive_seconds: float
    """Seconds that a connection may be idle between two requests."""
    stalled_seconds: float
    """A turn of the models (one token, or a few texts) that takes longer counts as stuck: `/live` and `/ready` then
    answer 503."""
    threads: int
    """CPU threads."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65535, "serving.port", self.port, "0 to 65535")
        require(bool(self.recipes), "serving.recipes", self.recipes, "at least one recipe")
        require(0 < self.poll_seconds < float("inf"), "serving.poll_seconds", self.poll_seconds, "above 0")
        require(self.max_waiting >= 0, "serving.max_waiting", self.max_waiting, "0 or more")
        require(0 <= self.drain_seconds < float("inf"), "serving.drain_seconds", self.drain_seconds, "0 or more")
        for field in [
            "max_prompt_tokens",
            "max_new_tokens",
            "max_inputs",
            "max_body_bytes",
            "max_beams",
            "max_running",
            "max_connections",
            "threads",
        ]:
            value = getattr(self, field)
            require(value >= 1, f"serving.{field}", value, "1 or more")
        for field in ["header_seconds", "body_seconds", "keep_alive_seconds", "stalled_seconds"]:
            value = getattr(self, field)
            require(0 < value < float("inf"), f"serving.{field}", value, "above 0")
        for name in self.allowed_hosts:
            plain = name == "*" or (bool(name) and not set(name) & set("/[]@*") and name.count(":") != 1)
            require(plain, "serving.allowed_hosts", name, "host names without scheme and port, or *")
