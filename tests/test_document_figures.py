"""The figures in the pages' tables are those of the shipped rows."""

import re
from statistics import mean, stdev

import pytest
from scipy.stats import t as student_t

from tests.helpers.documents import Page
from tests.helpers.paths import ROOT
from tests.helpers.rows import model_rows

RUNS = ("digits", "digits-methods", "digits-methods-long", "digits-latent", "cifar10-grey")
# Lines of the first page's table: the run, and the model as the tables of checkpoints/README.md name it.
FIRST_PAGE = {
    "teacher, DDIM": ("digits-methods-long", "teacher ddim"),
    "reflow, distilled, refined by f-distill": ("digits-methods-long", "f-distill-refined"),
    "reflow, distilled": ("digits-methods-long", "reflow-distilled"),
    "progressive distillation": ("digits-methods-long", "progressive"),
    "MeanFlow": ("digits-methods-long", "meanflow"),
    "DMD2": ("digits-methods", "dmd2"),
    "SiD, no training images needed": ("digits-methods", "sid"),
}


def figures(run: str) -> dict[tuple[str, int], list[float]]:
    """Frechet distances of a run's rows, by the line of the table and the number of steps."""
    found = {}
    for row in model_rows(ROOT / "checkpoints" / run):
        [main] = [name for name in row if name.startswith("fd_") and not name.endswith("_inf")]
        line = row["model"].removesuffix(f"-{row['steps']}")
        line += f" {row['sampler']}" if line == "teacher" else ""
        line += f" w={row['guidance']:g}" if row["guidance"] != 1 else ""
        found.setdefault((line, row["steps"]), []).append(row[main])
    return found


def check(cell: str, values: list[float]) -> None:
    """Compare a cell, a mean with or without half of a 95 % interval, to the digits that it has."""
    width = student_t.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5 if values[1:] else 0
    for text, value in zip(cell.split(" ± "), (mean(values), width)):
        assert abs(float(text) - value) <= 0.5001 * 10 ** -len(text.partition(".")[2]), (cell, value)


@pytest.mark.parametrize("run", RUNS)
def test_results_of_a_run(run):
    table, rows = Page("checkpoints/README.md").tables(f"`{run}`")[0], figures(run)
    cells = {(row["Model"], int(steps)): row[steps] for row in table for steps in row if steps != "Model"}
    assert {place for place, cell in cells.items() if cell} == set(rows)
    for place, values in rows.items():
        check(cells[place], values)


def test_results_on_the_first_page():
    [table] = [table for table in Page("README.md").tables("Results") if "1 step" in table[0]]
    assert {row["model"] for row in table} == set(FIRST_PAGE)
    for row in table:
        run, line = FIRST_PAGE[row["model"]]
        for column, cell in row.items():
            if (steps := re.match(r"(\d) steps?$", column)) and cell:
                check(cell, figures(run)[line, int(steps[1])])


def test_results_of_the_methods():
    [table] = [
        table for table in Page("recipes/README.md").tables("Methods") if any("fd_" in c for c in table[0])
    ]
    rows = figures("digits-methods")
    for row in table:
        recipe = re.search(r"\(methods/(\w+)\.yaml\)", row["method"]) or re.match(r"`(\w+)`", row["method"])
        stage = recipe[1].replace("_", "-")
        for steps, cell in zip(
            (1, 2, 4, 8), row["fd_digits at 1 / 2 / 4 / 8 steps"].split(" / "), strict=True
        ):
            assert (cell != "–") == ((stage, steps) in rows), (stage, steps)
            if cell != "–":
                check(cell, rows[stage, steps])
