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
