"""Pausing Python's garbage collector."""

import gc

import pytest

from tinypose_torch.utils.collection import collection_paused


def _fail_inside():
    with collection_paused():
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()  # the outer one is still open
        raise ValueError("inside")


def test_on_again_whatever_happens():
    with pytest.raises(ValueError, match="inside"):
        _fail_inside()
    assert gc.isenabled()


def test_off_stays_off():
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
