"""The student and the teacher of a stage: loaded, and checked against each other, data and benchmark."""

from ..core.denoiser import Denoiser
from ..core.errors import FastdiffError
from ..core.files import expanded
from ..data.registry import Readable
from ..evaluation.sweep import check_fit
from ..io.load import load, read_metadata
from ..networks.lora import twin
from ..networks.own import check_storable
from ..samplers.plan import plan
from .checks import check_base, check_data
from .context import Run
from .origin import model_path
from .stage_config import Stage


def load_networks(run: Run, stage: Stage, pairs: Readable | None) -> tuple[Denoiser, Denoiser | None]:
    """Load a stage's student and teacher, and validate them before the training starts.

    Args:
        run: the run that the stage belongs to.
        stage: a stage with a method.
        pairs: the stored pairs that the student is trained on; None if it is trained on data.

    Returns:
        The student, and the teacher or None.

    Raises:
        FastdiffError: for models that do not fit each other, the method, the data or the benchmark.
    """
    source = stage.init or stage.teacher
    start = load(model_path(source, run.folder)) if source else run.recipe.fresh_model(run.dataset)
    teacher = shared_teacher(stage, start)
    student = stage.method.student(start)
    inputs = (bool(start.guidance), start.two_times)
    if stage.train.lora and (bool(student.guidance), student.two_times) != inputs:
        raise FastdiffError(
            f"stage {stage.name}: train.lora: {stage.method_name} adds an input to the network, which an "
            "adapter cannot learn; leave out lora, or set the method's weights to one number, [w, w]"
        )
    if stage.teacher:
        teacher = (teacher or load(model_path(stage.teacher, run.folder))).with_schedule(student.schedule)
    if student.latent and stage.train.flip:
        raise FastdiffError(
            f"stage {stage.name}.train.flip: latents cannot be mirrored (they are not those of the mirrored "
            "image); leave flip out"
        )
    for reference, model in ((source, student), (stage.teacher, teacher)):
        what = f"stage {stage.name}: {reference or 'its network'}"
        check_data(what, model, pairs or run.dataset, bool(pairs), class_names(run, reference))
    check_guidance(stage, start.guidance, teacher)
    bench = run.recipe.bench
    if bench and stage.judged and (bench.models is None or stage.name in bench.models):
        check_fit(stage.name, student, run.dataset.reference, bench)
    if stage.base:
        check_base(stage, student, load(model_path(stage.base, run.folder)), run.dataset)
    student.sampling = stage.method.sampling()
    plan(student)  # raises if the student cannot be sampled
    check_storable(student.net, student.shape)
    stage.method.validate(student.shape, run.accelerator.device)
    return student, teacher


def class_names(run: Run, reference: str | None) -> tuple[str, ...]:
    """Return the names of the classes that a model's metadata has; () if it has none."""
    notes = read_metadata(expanded(model_path(reference, run.folder))) if reference else None
    return tuple((notes or {}).get("class_names", ()))


def shared_teacher(stage: Stage, start: Denoiser) -> Denoiser | None:
    """Return a teacher that shares its weights' memory with the model that an adapter is trained on.

    None if no adapter is trained, if the student is not initialized from its teacher, or if the teacher is
    kept in another precision or in main memory.
    """
    same_model = stage.teacher is not None and (stage.init or stage.teacher) == stage.teacher
    same_weights = not stage.train.offload and stage.train.teacher_dtype == "float32"
    return twin(start) if stage.train.lora and same_model and same_weights else None


def check_guidance(stage: Stage, student_range: tuple[float, float] | None, teacher: Denoiser | None) -> None:
    """Check that the student's initialization and the teacher take guidance weights in the same range.

    Otherwise the student would lose the weight, or could not follow the teacher's.

    Raises:
        FastdiffError: if only one of them takes a guidance weight, or the ranges differ.
    """
    if student_range == (teacher.guidance if teacher else None):
        return
    source = stage.init or stage.teacher
    if student_range:
        takes, lacks = source, stage.teacher or "its training data"
    else:
        takes, lacks = stage.teacher, source
    raise FastdiffError(
        f"stage {stage.name}: {takes} takes a guidance weight as an input, and {lacks} does not (or takes "
        "another range): leave out init, or choose a matching teacher"
    )
