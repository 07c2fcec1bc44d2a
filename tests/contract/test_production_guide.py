"""The files of docs/guides/production.md, checked by the programs that read them, as far as this machine has them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from langmill.cli import commands
from langmill.config.compose import compose_serving
from langmill.config.sections import Backend, TrialMode
from langmill.serving.metrics import Metrics
from langmill.serving.trial.trials import Trials
from tests.unit.serving.conftest import TRIAL

pytestmark = pytest.mark.contract
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "production.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def files(name: str) -> list[str]:
    """The guide's files of a name, which stands in their first line."""
    return [content for _, content in BLOCKS if re.match(rf"# (\S*/)?{re.escape(name)}\n", content)]


def test_every_block_of_yaml_can_be_read() -> None:
    blocks = [content for kind, content in BLOCKS if kind == "yaml"]
    assert len(blocks) == 5
    assert all(isinstance(yaml.safe_load(content), dict) for content in blocks)


def test_the_settings_are_settings(tmp_path: Path) -> None:
    conf = shutil.copytree(GUIDE.parents[2] / "conf", tmp_path / "conf")
    path = conf / "serving" / "default.yaml"
    shipped = yaml.safe_load(path.read_text(encoding="utf-8"))
    first, second = map(yaml.safe_load, files("default.yaml"))
    merged = {**shipped, **first, **second, "trial": {**shipped["trial"], **first["trial"]}}
    path.write_text(yaml.safe_dump(merged), encoding="utf-8")
    found = compose_serving(conf=conf)
    assert (found.trial.mode, found.backends) == (TrialMode.shadow, {"assistant": Backend.vllm})
    assert found.vllm.arguments == ["--gpu-memory-utilization", "0.45", "--max-model-len", "8k"]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    names = ["langmill.service", "langmill-live.service", "langmill-live.timer"]
    for name in names:
        (content,) = files(name)
        # Neither this user nor the workspace is here.
        content = content.replace("User=langmill\n", "").replace("/srv/langmill/.venv/bin/langmill", "/bin/true")
        (tmp_path / name).write_text(content.replace("/srv/langmill", "/tmp"), encoding="utf-8")
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd here")
    done = subprocess.run([program, "verify", *names], cwd=tmp_path, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "langmill" in line]
    assert ours == [], done.stderr


def test_the_server_has_time_to_drain() -> None:
    (unit,), (compose,) = files("langmill.service"), files("compose.yaml")
    drain = compose_serving().drain_seconds
    stop = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert stop is not None
    assert int(stop[1]) > drain + 10
    assert int(yaml.safe_load(compose)["services"]["langmill"]["stop_grace_period"].rstrip("s")) > drain + 10


def test_prometheus_watches_what_the_server_counts(tmp_path: Path) -> None:
    (rules,), (settings,) = files("langmill.rules.yml"), files("prometheus.yml")
    metrics = Metrics()
    Trials(TRIAL, tmp_path, lambda *_: "", metrics.registry, lambda _: None)
    counted = {sample for family in metrics.registry.collect() for sample in samples_of(family)} | {"up"}
    asked = {name for rule in yaml.safe_load(rules)["groups"][0]["rules"] for name in named(rule["expr"])}
    assert len(asked) > 7
    assert asked <= counted, asked - counted
    for tool, kind, content in (("promtool", "rules", rules), ("promtool", "config", settings)):
        if program := shutil.which(tool):
            path = tmp_path / kind
            path.write_text(content.replace("/etc/prometheus/langmill.rules.yml", "none*.yml"), encoding="utf-8")
            extra = ["--syntax-only"] if kind == "config" else []
            done = subprocess.run([program, "check", kind, *extra, str(path)], capture_output=True, check=False)
            assert done.returncode == 0, done.stderr


def samples_of(family: Any) -> list[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""]}[family.type]
    return [f"{family.name}{ending}" for ending in endings]


def named(expression: str) -> list[str]:
    return re.findall(r"\blangmill_\w+|\bup\b", re.sub(r'"[^"]*"', "", expression))


def test_nginx_takes_the_proxy(tmp_path: Path) -> None:
    (content,) = files("langmill.conf")
    assert content.count("{") == content.count("}")
    assert {"proxy_buffering off;", "proxy_set_header Host $host;"} <= {line.strip() for line in content.splitlines()}
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        pytest.skip("there is no nginx here")
    plain = content.replace("listen 443 ssl", "listen 8443").replace("ssl_certificate", "# ssl_certificate")
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{plain}}}\n", encoding="utf-8"
    )
    done = subprocess.run(
        [program, "-t", "-p", str(tmp_path), "-c", "nginx.conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_of_ours_is_one() -> None:
    typed = re.findall(r"langmill (\w+)((?: --[\w-]+)?)", " ".join(re.findall(r"`(langmill [^`]+)`", TEXT)))
    typed += [
        found for kind, content in BLOCKS if kind in ("bash", "ini") for found in
        re.findall(r"^(?:ExecStart=\S*/)?langmill (\w+)((?: --[\w-]+)?)", content, re.MULTILINE)
    ]  # fmt: skip
    assert len(typed) > 8
    for name, option in typed:
        options = {flag for each in commands.commands[name].params for flag in each.opts}
        assert not option.strip() or option.strip() in options, (name, option)
