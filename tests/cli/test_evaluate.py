"""The evaluate command."""

import json

from PIL import Image


def test_images_from_elsewhere_are_judged(pictures, fastdiff, refused, tmp_path):
    fastdiff("sample", pictures, "--n", 16, "--steps", 1, "--out", tmp_path / "drawn")
    code, out, err = fastdiff("evaluate", tmp_path / "drawn", "--data", "digits", "--metrics", "fd,pr")
    names = [line.split()[0] for line in out.splitlines()]
    assert (
        code == 0
        and names[:2] == ["n", "fd_digits"]
        and "precision_digits" in names
        and "kd_digits" not in names
    )
    assert "mostly bias" in err  # 16 images in 64 dimensions
    code, out, err = fastdiff("evaluate", "digits", "--data", "digits", "--metrics", "fd,accuracy", "--json")
    found = json.loads(out)
    assert (
        code == 0
        and abs(found["fd_digits"]) < 1e-6
        and found["accuracy_digits"] > 0.98
        and found["n"] == 1797
    )
    assert "no images found" in refused("evaluate", pictures, "--data", "digits")
    assert "drawn, (3, 8, 8)" in refused("evaluate", tmp_path / "drawn", "--data", "toy")
    assert "is unknown, did you mean fd" in refused(
        "evaluate", tmp_path / "drawn", "--data", "digits", "--metrics", "fad"
    )
    Image.new("L", (9, 9)).save(tmp_path / "drawn" / "odd.png")
    assert "differ in size" in refused("evaluate", tmp_path / "drawn", "--data", "digits")


def test_the_data_may_be_of_another_size_and_colour(pictures, colourful, fastdiff, tmp_path):
    fastdiff("sample", pictures, "--n", 16, "--steps", 1, "--out", tmp_path / "drawn")
    words = ["evaluate", tmp_path / "drawn", "--data", colourful, "--resolution", 8, "--metrics", "fd"]
    words += ["--extractor", "checkpoints/digits/features", "--json"]
    found = [json.loads(fastdiff(*words, *more)[1])["fd_digits"] for more in ([], ["--colour", "grey"])]
    assert found[0] > 0 and found[1] > 0 and found[0] != found[1]
