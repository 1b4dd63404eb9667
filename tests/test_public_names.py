"""Every public name of the package is there."""

import pytest

import fastdiff


def test_every_public_name_is_there():
    assert set(fastdiff.__all__) <= set(dir(fastdiff))
    assert all(getattr(fastdiff, name) is not None for name in fastdiff.__all__)
    with pytest.raises(AttributeError, match="nosuch"):
        _ = fastdiff.nosuch
