"""The context of a run: one for all stages, but for a stage with data of its own."""

from dataclasses import FrozenInstanceError, replace

import pytest

from tests.helpers.recipes import PLAIN
from tests.helpers.run_contexts import context


def test_a_stage_with_data_of_its_own_changes_no_other_stages_context(tmp_path):
    run = context(PLAIN, tmp_path)
    other = replace(run, dataset=run.dataset.reference)
    assert other.signals is run.signals and other.accelerator is run.accelerator
    with pytest.raises(FrozenInstanceError):
        run.dataset = None
    run.signals.save = True
    assert other.signals.save and len(run.dataset) == PLAIN["data"]["n"]
