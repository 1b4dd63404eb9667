"""The benchmark: what models are worth and what they cost.

config.py: BenchConfig, the settings, and the cells that they make; baselines.py: the teacher's default ones.
sweep.py: Sweep and sweep, which measure every cell and yield rows; contestant.py: a model in a sweep.
cell.py: one cell, drawn, timed and judged; conditions.py: its conditions; likelihood.py: bits per dimension.
pictures.py: the pictures and terms that are kept of cells.
evaluator.py: metrics of samples, streamed; reference.py: the data's side of them, cached.
opening.py: evaluators opened by name, and evaluate_images for images made by any program.
metrics/: the metrics, and the networks whose features they take.
rows.py: the file of rows; summary.py: means, spreads and ranks of rows; metric_names.py: which way is better.
provenance.py: where a row comes from. budget.py: the time of a sweep. lock.py: one writer per directory.
report/: tables, plots and the page. judge/: blind human evaluation. profiling/: speed.

Imports from core, networks, samplers, data, methods, training and io. No torch is needed for report/, judge/,
rows.py, summary.py, metric_names.py, baselines.py and lock.py.
"""
