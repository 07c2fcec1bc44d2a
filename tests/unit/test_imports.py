"""Imports without the garbage collector."""

import gc

import pytest

from langmill.imports import without_collecting

pytestmark = pytest.mark.unit


def test_the_collector_rests_meanwhile_and_never_sees_what_came_in():
    gc.unfreeze()
    try:
        with pytest.raises(ModuleNotFoundError), without_collecting():
            assert not gc.isenabled()
            import there_is_no_such_module  # noqa: F401
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.freeze()  # as tests/conftest.py had left it
