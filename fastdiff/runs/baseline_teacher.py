"""The teacher of a run's benchmark: the model that is measured with the baselines."""

from ..core.errors import FastdiffError
from .recipe import Recipe


def baseline_teacher(recipe: Recipe) -> tuple[str | None, str | None]:
    """Return the model of a run that is measured with the baselines.

    It is bench.teacher; else the stage without teacher and init that other stages name as their teacher, or
    as their init; else the first stage of the method denoising; else the teacher that stages name outside the
    run; else the only stage without teacher and init, if the recipe sets baselines.

    Returns:
        The model's name in the benchmark, and its path or hub id if it is not a stage; None for none.

    Raises:
        FastdiffError: if the recipe sets baselines and no model is the teacher.
    """
    if recipe.bench.teacher:
        return recipe.bench.teacher, None
    judged = [stage for stage in recipe.stages if stage.judged]
    names = [stage.name for stage in judged if stage.method]
    origins = [stage.name for stage in judged if stage.method and not (stage.teacher or stage.init)]
    for named in ([stage.teacher for stage in recipe.stages], [stage.init for stage in recipe.stages]):
        if found := [name for name in origins if name in named]:
            return found[0], None
    if found := [stage.name for stage in judged if stage.method_name == "denoising"]:
        return found[0], None
    if outside := [stage.teacher for stage in judged if stage.teacher and stage.teacher not in names]:
        return ("outside-teacher" if "teacher" in names else "teacher"), outside[0]
    if not ((recipe.source.get("bench") or {}).get("baselines") and names):
        return None, None
    if len(origins) == 1:
        return origins[0], None
    raise FastdiffError(
        f"bench.baselines = {list(recipe.bench.baselines)}: no stage names one of {', '.join(names)} as its "
        "teacher, which is measured with them; set bench.teacher, or baselines: []"
    )
