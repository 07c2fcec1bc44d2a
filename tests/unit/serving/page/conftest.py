"""A browser at the page of a started server with five small models."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from langmill.serving.jobs import LoadedVersion
from tests.unit.serving.conftest import Writer, loaded
from tests.unit.serving.small_server import KEY, MAX_LENGTH, SmallServer, serving

DESK = {"width": 1200, "height": 860}
MAX_INPUTS = 8
PATIENCE_SECONDS = 60
"""How long something may take to appear, on a machine that is busy with other tests."""


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    sync_api.expect.set_options(timeout=1000 * PATIENCE_SECONDS)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def site(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallServer]:
    with serving(tmp_path_factory.mktemp("site"), max_inputs=MAX_INPUTS) as server:
        yield server


@dataclass
class Tab:
    """A tab of the browser with the key given."""

    page: Any
    sent: list[tuple[str, dict[str, Any]]]
    """Path and body of each request to a model."""

    def asked(self, path: str) -> list[dict[str, Any]]:
        return [body for each, body in self.sent if each == path]

    def until(self, true: Callable[[], bool]) -> None:
        """Wait; the browser's events come in meanwhile."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not true():
            assert time.monotonic() < end
            self.page.wait_for_timeout(20)

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def open(self, model: str, name: str | None = None) -> None:
        self.page.locator(f"[data-model={model}]").click()
        if name is not None:
            self.page.get_by_role("tab", name=name, exact=True).click()


@pytest.fixture
def tab(request: pytest.FixtureRequest, chromium: Any, site: SmallServer) -> Iterator[Tab]:
    options = {"viewport": DESK, **getattr(request, "param", {})}
    context = chromium.new_context(**options)
    page, sent, wrong = context.new_page(), [], []
    page.set_default_timeout(1000 * PATIENCE_SECONDS)

    def note(asked: Any) -> None:
        path = asked.url.removeprefix(site.url)
        if not asked.url.startswith((site.url, "data:", "blob:")):
            wrong.append(f"asked {asked.url}")
        if asked.method == "POST" and path != "/tokenize":
            sent.append((path, json.loads(asked.post_data)))

    page.on("request", note)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text else None)
    page.goto(site.url)
    page.get_by_label("This server wants a key").fill(KEY)
    page.get_by_role("button", name="Use it").click()
    page.locator("[role=tab]").first.wait_for()
    yield Tab(page, sent)
    context.close()
    assert wrong == []


def publish(site: SmallServer, name: str, version: int, task: Any = None) -> None:
    """Another version of a model; with a task, a fake one."""
    model = site.models[name] if task is None else loaded(task, MAX_LENGTH)
    site.engine.publish(LoadedVersion(name, version, model, 8))


@pytest.fixture
def slow(site: SmallServer) -> Iterator[Writer]:
    """In place of `gru`, a model that takes its time."""
    writer = Writer(seconds=0.04)
    publish(site, "gru", 2, writer)
    yield writer
    publish(site, "gru", 1)
