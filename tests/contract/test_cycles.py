"""No module is in a circle of imports, those for types alone included."""

from __future__ import annotations

import grimp
import pytest

pytestmark = pytest.mark.contract


def test_no_circle_of_imports() -> None:
    graph = grimp.build_graph("langmill", "flows", cache_dir=None)
    left = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while free := [module for module, imported in left.items() if not imported & left.keys()]:
        for module in free:
            del left[module]
    assert not left, "each of these imports another of them, or one that does"
