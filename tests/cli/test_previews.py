"""Samples on the way, and images that are edited."""

import numpy as np
import pytest
from PIL import Image


def test_previews_are_written_on_the_way(pictures, fastdiff, tmp_path):
    words = [
        "sample",
        pictures,
        "--n",
        2,
        "--sampler",
        "ddim",
        "--steps",
        6,
        "--preview",
        2,
        "--out",
        tmp_path / "x.png",
    ]
    code, _, err = fastdiff(*words)
    assert (code, err) == (0, "")
    assert sorted(p.name for p in tmp_path.glob("*.png")) == [
        "x-state-0002.png",
        "x-state-0004.png",
        "x-state-0006.png",
        "x.png",
    ]


def test_an_image_is_edited(pictures, fastdiff, tmp_path):
    fastdiff("sample", pictures, "--n", 1, "--out", tmp_path / "given.png")
    Image.open(tmp_path / "given.png").resize((8, 8)).save(tmp_path / "small.png")
    half = np.zeros((8, 8), np.uint8)
    half[:4] = 255
    Image.fromarray(half).save(tmp_path / "mask.png")
    code, _, err = fastdiff(
        "sample",
        pictures,
        "--n",
        3,
        "--steps",
        4,
        "--sampler",
        "ddpm",
        "--init-image",
        tmp_path / "small.png",
        "--mask",
        tmp_path / "mask.png",
        "--out",
        tmp_path / "edited",
    )
    assert (code, err) == (0, "")
    given = np.asarray(Image.open(tmp_path / "small.png").convert("L"))
    drawn = [np.asarray(Image.open(p).convert("L")) for p in sorted((tmp_path / "edited").glob("*.png"))]
    assert len(drawn) == 3 and all((one[:4] == given[:4]).all() for one in drawn)
    assert any((one[4:] != given[4:]).any() for one in drawn)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strength", 0.5], "--mask, --strength and --resamplings edit an image: give --init-image"),
        (["--init-image", "nosuch.png", "--strength", 0.5], "nosuch.png: expected an image file"),
        (["--guide", "clip=much"], "--guide.clip: expected a number"),
        (["--guide", "clp=1"], "--guide.clp is unknown, did you mean clip?"),
        (["--guide", "bogus"], "--guide bogus: expected setting=value, separated by commas"),
        (["--guide", "rescale=0.5"], "rescale = 0.5 has no effect at guidance = 1"),
        (["--n", 0], "--n 0: expected at least 1"),
        (["--preview", -1], "--preview -1: expected at least 0"),
        (["--spacing", "karras[roh=5]"], "spacing karras.roh is unknown, did you mean rho?"),
    ],
)
def test_ways_to_sample_that_are_none(words, message, pictures, refused, tmp_path):
    assert message in refused("sample", pictures, "--sampler", "ddim", "--out", tmp_path / "x.png", *words)
