"""The way a model is sampled: grids that were found for a number of steps."""

from fastdiff.core.sampling import Sampling


def test_times_are_kept_by_their_number():
    sampling = (
        Sampling(spacing="karras")
        .with_times([1.0, 0.3, 0.0])
        .with_times((1.0, 0.8, 0.2))
        .with_times([1, 0.4])
    )
    assert sampling.times == ((1.0, 0.4), (1.0, 0.8, 0.2))
    assert [sampling.spacing_for(steps) for steps in (1, 2, 3)] == ["karras", (1.0, 0.4), (1.0, 0.8, 0.2)]


def test_remarks_name_what_is_not_usual():
    assert Sampling().remarks == []
    said = "; ".join(
        Sampling(clip=0.7, keep_eps=True, end=(0.9, 0.1), variance="large", time_rounding="floor").remarks
    )
    for part in ("|x0| at most 0.7", "eps kept", "alpha 0.9, sigma 0.1", "variance large", "(floor)"):
        assert part in said
    assert Sampling(threshold=0.9, threshold_max=1.5).remarks == [
        "x0 thresholded at its quantile 0.9, at most 1.5"
    ]
