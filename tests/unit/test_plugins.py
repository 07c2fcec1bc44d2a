"""Distributions that bring architectures, tasks and formats: found by entry points, known by all their code."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from langmill.errors import ConfigError
from langmill.files import write_text
from langmill.plugins import find_plugins

pytestmark = pytest.mark.unit
NAMES = [
    ("langmill.tasks", "toy_task"),
    ("langmill.architectures", "toy_network"),
    ("langmill.tasks", "classification"),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with one plug-in of a package and a module."""
    write_text(tmp_path / "toy_package" / "__init__.py", "")
    write_text(tmp_path / "toy_package" / "deep" / "network.py", "width = 1")
    write_text(tmp_path / "toy_module.py", "x = 1")
    about = "Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.5\nRequires-Dist: numpy>=1\n"
    write_text(tmp_path / "toy_plugin-1.5.dist-info" / "METADATA", about)
    points = (
        "[langmill.tasks]\ntoy_task = toy_module\n[langmill.architectures]\ntoy_network = toy_package.deep.network\n"
    )
    write_text(tmp_path / "toy_plugin-1.5.dist-info" / "entry_points.txt", points + "[others]\nname = json\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return tmp_path


def count_digests(site: Path, *paths: str) -> int:
    """How many digests the plug-in has in turn, as one of these files after the other is changed."""
    digests = {find_plugins(NAMES)[0].digest}
    for path in paths:
        write_text(site / path, "changed = 2")
        digests.add(find_plugins(NAMES)[0].digest)
    return len(digests)


def test_a_plugin_is_known_by_all_its_code_and_its_version(site: Path) -> None:
    (plugin,) = find_plugins(NAMES)
    assert (plugin.name, plugin.version, plugin.requires) == ("toy-plugin", "1.5", ("numpy>=1",))
    assert [path.name for path in plugin.packages] == ["toy_module.py", "toy_package"]
    digest = plugin.digest
    write_text(site / "toy_package" / "__pycache__" / "network.pyc", "byte code")
    assert plugin.digest == digest
    assert count_digests(site, "toy_package/deep/network.py", "toy_module.py") == 3


def record(site: Path, *files: str) -> None:
    """The list of files that every installer writes."""
    lines = [*files, "toy_package/__init__.py", "toy_package/deep/network.py", "toy_module.py"]
    write_text(site / "toy_plugin-1.5.dist-info" / "RECORD", "".join(f"{file},,\n" for file in lines))


def test_packages_without_entry_points_count(site: Path) -> None:
    write_text(site / "toy_utils" / "more.py", "y = 1")
    write_text(site / "toy_single.py", "z = 1")
    record(
        site, "toy_utils/more.py", "toy_single.py", "toy_plugin-1.5.dist-info/METADATA", "toy.pth", "../../bin/toy.py",
        "__pycache__/toy_module.cpython-311.pyc", "toy-stubs/a.py", "licences/LICENSE",
    )  # fmt: skip
    (plugin,) = find_plugins(NAMES)
    assert [path.name for path in plugin.packages] == ["toy_module.py", "toy_package", "toy_single.py", "toy_utils"]
    assert count_digests(site, "toy_utils/more.py", "toy_single.py") == 3


def test_an_editable_ones_list_names_no_code(site: Path) -> None:
    write_text(site / "__editable___toy_finder.py", "")
    record(site, "__editable___toy_finder.py")
    write_text(site / "toy_plugin-1.5.dist-info" / "direct_url.json", '{"url": "", "dir_info": {"editable": true}}')
    (plugin,) = find_plugins(NAMES)
    assert [path.name for path in plugin.packages] == ["toy_module.py", "toy_package"]


def test_every_part_of_a_namespace_counts(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "toy_package" / "__init__.py").unlink()
    write_text(site / "elsewhere" / "toy_package" / "other.py", "a = 1")
    monkeypatch.syspath_prepend(str(site / "elsewhere"))
    importlib.invalidate_caches()
    (plugin,) = find_plugins(NAMES)
    parts = [site / "toy_module.py", site / "elsewhere" / "toy_package", site / "toy_package"]
    assert list(plugin.packages) == parts
    assert count_digests(site, "elsewhere/toy_package/other.py", "toy_package/deep/network.py") == 3


def test_langmills_own_are_none(site: Path) -> None:
    assert find_plugins([("langmill.tasks", "classification"), ("langmill.architectures", "decoder")]) == []


def test_a_plugin_without_code_is_named(site: Path) -> None:
    (site / "toy_module.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match="The plug-in toy-plugin brings no code for toy_module"):
        find_plugins(NAMES)
