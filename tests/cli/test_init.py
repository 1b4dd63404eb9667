"""The init command: a recipe in a file that is not there yet, and the line to type next."""

from fastdiff.runs import first_recipe


def test_a_recipe_is_written_once(fastdiff, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(first_recipe, "step_seconds", lambda *_: 0.5)
    code, out, _ = fastdiff("init", "toy", "--minutes", 2)
    text = (tmp_path / "toy.yaml").read_text()
    assert code == 0 and out.startswith(text) and out.endswith("fastdiff run toy.yaml\n")
    assert "exists already; name another file" in refused("init", "toy")
    assert (tmp_path / "toy.yaml").read_text() == text
    assert fastdiff("init", "toy", "--out", "other.yaml")[0] == 0
    assert "fastdiff run other.yaml" in (tmp_path / "other.yaml").read_text()
    assert "cannot be written" in refused("init", "toy", "--out", "no/such.yaml")
    assert "minutes = -1" in refused("init", "toy", "--minutes", -1, "--out", "third.yaml")
