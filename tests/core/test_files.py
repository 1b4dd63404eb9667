"""Files of data: identities of values, and where the cache is."""

from fastdiff.core.files import cache_folder, identity


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTDIFF_CACHE", str(tmp_path))
    assert cache_folder("reference") == tmp_path / "reference"
    monkeypatch.delenv("FASTDIFF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_folder("reference")) == "/somewhere/fastdiff/reference"


def test_identity_depends_on_every_value_and_not_on_order_or_number_type():
    name = identity(weights="ab", times=[3.5, 0.0], guidance=1.0, options={"eta": 0, "rho": 7})
    assert name == identity(options={"rho": 7.0, "eta": 0.0}, guidance=1, times=(3.5, 0), weights="ab")
    assert len(name) == 16 and int(name, 16) >= 0
    changes = [
        {"weights": "ac"},
        {"times": [3.5, 1e-9]},
        {"guidance": 1.5},
        {"options": {"eta": 1, "rho": 7}},
    ]
    same = {"weights": "ab", "times": [3.5, 0.0], "guidance": 1.0, "options": {"eta": 0, "rho": 7}}
    assert len({name, *(identity(**(same | change)) for change in changes)}) == 5
