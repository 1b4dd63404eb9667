"""What is compared: questions, their order, and directories that cannot be judged."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fastdiff.evaluation.judge.questions import pairings, questions, tiles
from tests.helpers.judging import BEST, ONE, TWO, served, sheet, sitting


def test_students_at_their_fewest_steps_meet_the_best_teacher_and_real_data(run_dir):
    assert pairings(run_dir) == [(ONE, BEST), (ONE, "real"), (TWO, BEST), (TWO, "real")]
    assert pairings(run_dir, b="teacher:1") == [
        (ONE, "teacher-ddim-uniform-1"),
        (TWO, "teacher-ddim-uniform-1"),
    ]
    assert pairings(run_dir, a="halved:4") == [
        ("halved-4-ddim-uniform-4", BEST),
        ("halved-4-ddim-uniform-4", "real"),
    ]
    assert pairings(run_dir, "distilled:4", "real") == [("distilled-consistency-uniform-4", "real")]
    assert pairings(run_dir, "distilled:1", "teacher:8") == [(ONE, BEST)]  # of two samplers the better
    (run_dir / "samples" / "real.png").unlink()
    assert pairings(run_dir) == [(ONE, BEST), (TWO, BEST)]


def test_both_images_of_a_question_come_from_the_same_noise(run_dir):
    x = {
        cell: sheet(run_dir / "samples" / f"{cell}.png", seed=i)
        for i, cell in enumerate([ONE, TWO, BEST, "real"])
    }
    asked = questions(run_dir, pairings(run_dir), "ann", 10**6)
    assert len({q.key for q in asked}) == len(asked) == 4 * 32
    for q in asked:
        shown = dict(zip(q.sides, q.tiles))
        assert (np.asarray(shown["a"]) == x[q.a][q.noise]).all() and (
            np.asarray(shown["b"]) == x[q.b][q.noise]
        ).all()


def test_order_and_sides_are_the_raters_own_and_always_the_same(run_dir):
    def look(rater, n=10**6):
        return [(q.key, q.a, q.b, q.noise, q.sides) for q in questions(run_dir, pairings(run_dir), rater, n)]

    ann, ben = look("ann"), look("ben")
    assert ann == look("ann") and [q[1:4] for q in ann] != [q[1:4] for q in ben]
    assert 40 < sum(q[4] == ("a", "b") for q in ann) < 88  # of 128: 4.2 deviations
    assert {q[1:4]: q[4] for q in ann} != {q[1:4]: q[4] for q in ben}
    first = look("ann", 8)
    assert sorted(q[3] for q in first) == [0] * 4 + [1] * 4 and set(first) <= set(ann)  # all pairs alike


def test_sheets_of_one_row_and_half_filled_ones_are_read(run_dir):
    path = run_dir / "samples" / "x.png"
    for images in (1, 16, 19, 64):
        x = sheet(path, images=images)
        assert (np.stack([np.asarray(tile) for tile in tiles(path)]) == x).all()
    Image.fromarray(sheet(path, images=16)[:, :, :, 0].swapaxes(0, 1).reshape(8, 128)).save(path)
    assert [tile.mode for tile in tiles(path)] == ["RGB"] * 16  # grey looks like colour


@pytest.mark.parametrize(
    "words, said",
    [
        (["--a", "distiled:1"], "--a distiled:1: no such model, did you mean distilled?"),
        (["--a", "distilled:2"], "--a distilled:2: not measured at that step count, choose from 1, 4"),
        (["--b", "distilled"], "--b distilled: expected MODEL:STEPS, as in teacher:8"),
        (["--b", "teacher:x"], "--b teacher:x: expected MODEL:STEPS"),
        (["--a", "teacher:8", "--b", "teacher:8"], "has nothing to compare"),
        (["--pairs", 0], "--pairs 0: expected at least 1"),
        (["--rater", " "], "--rater: expected a name"),
        (["--port", 70000], "--port 70000: cannot be opened"),
    ],
)
def test_wishes_that_cannot_be_met(run_dir, refused, words, said):
    assert said in refused("judge", run_dir, *words)
    assert not (run_dir / "judge.jsonl").exists()


def test_a_port_in_use_is_named(run_dir, refused):
    with served(sitting(run_dir)) as server:
        assert f"--port {server.server_port}: cannot be opened" in refused(
            "judge", run_dir, "--port", server.server_port
        )


def test_directories_that_cannot_be_judged(run_dir, tmp_path, refused):
    empty = tmp_path / "empty"
    assert f"no rows in {empty / 'bench.jsonl'}" in refused("judge", empty)
    assert f"{empty}: no such directory" in refused("judge", empty, "--results")
    samples = run_dir / "samples"
    sheet(samples / f"{ONE}.png", side=16)
    assert f"images of 16 pixels in {ONE}.png and of 8 in " in refused("judge", run_dir)
    Image.new("RGB", (240, 240), "white").save(samples / f"{ONE}.png")
    assert "is a scatter plot: only images can be judged" in refused("judge", run_dir)
    Image.new("RGB", (100, 8)).save(samples / f"{ONE}.png")
    assert "expected rows of 16 square images" in refused("judge", run_dir)
    Image.new("L", (128, 8)).save(samples / f"{ONE}.png")
    assert "all images are black" in refused("judge", run_dir)
    (samples / f"{ONE}.png").write_bytes(b"\x89PNG")
    assert "expected a PNG picture" in refused("judge", run_dir)
    (samples / f"{ONE}.png").unlink()
    assert f"no samples in {samples / ONE}.png" in refused("judge", run_dir)
    (samples / "real.png").unlink()
    assert f"no samples in {samples / 'real.png'}" in refused(
        "judge", run_dir, "--a", "halved:2", "--b", "real"
    )
    shutil.rmtree(samples)
    assert f"no samples in {samples / ONE}.png" in refused("judge", run_dir)


@pytest.mark.parametrize(
    "line, said", [('{"key": "k", "choice": "a"}', "answer k has no 'a'"), ("[]\n{}", "line 1")]
)
def test_a_damaged_answer_is_pointed_at(run_dir, refused, line, said):
    (run_dir / "judge.jsonl").write_text(line + "\n")
    for words in ([], ["--results"]):
        error = refused("judge", run_dir, *words)
        assert str(run_dir / "judge.jsonl") in error and said in error
