"""The benchmark: sweeps, figures, rows, reports, blind judging and profiling."""
