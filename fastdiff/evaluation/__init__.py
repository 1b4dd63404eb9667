"""The benchmark: quality and cost of models, in rows, tables, plots and a page.

config.py: BenchConfig, the settings, and the cells that follow from it; baselines.py: default baselines.
sweep.py: Sweep and sweep, which measure every cell and yield rows; contestant.py: a model in a sweep.
cell.py: sampling, timing and evaluation of one cell; conditions.py: the conditions of its samples.
likelihood.py: bits per dimension of a data set under a model.
pictures.py: sample sheets, trajectories and kernel terms saved for each cell.
evaluator.py: metrics of samples, streamed; reference.py: features of the data set, cached on disk.
class_names.py: classes of models and data, compared by their names.
opening.py: evaluators opened by name, and evaluate_images for images made by any program.
feature_training.py: training of a feature network on any data; feature_task.py: what it learns there.
metrics/: the metrics, and the networks whose features they compare.
rows.py: the file of rows, and a table of all keys of a row.
real_data.py: the row "real data, held out".
summary.py: means and intervals of rows; comparison.py: differences, the best and its equals;
formatting.py: texts of figures; metric_names.py: whether lower or higher is better.
provenance.py: the origin of a row. budget.py: the time budget of a sweep. lock.py: one writer per directory.
report/: tables, plots and the page. judge/: blind human evaluation. profiling/: speed.

Imports from core, networks, samplers, data, methods, training and io. report/, judge/, rows.py, summary.py,
comparison.py, formatting.py, metric_names.py, baselines.py and lock.py import no torch.
"""
