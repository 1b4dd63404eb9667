"""Recipes that mean nothing: one line says which key does not fit."""

import pytest

from fastdiff.runs.recipe import build
from tests.helpers.recipes import changed, complaint, without


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("stagse={}", "stagse is unknown, did you mean stages?"),
        ("model.schedul=vp", "model.schedul is unknown, did you mean schedule?"),
        ("model.net.widht=4", "model.net.widht is unknown, did you mean width?"),
        ("model.schedule.beta_maks=4", "model.schedule.beta_maks is unknown"),
        (
            "model.schedule={name: vp, beta_maks: 4}",
            "model.schedule.beta_maks is unknown, did you mean beta_max?",
        ),
        ("stages.teacher.trian={}", "stages.teacher.trian is unknown, did you mean train?"),
        (
            "stages.teacher.method.label_dropuot=0",
            "stages.teacher.method.label_dropuot is unknown, did you mean label_dropout?",
        ),
        (
            "stages.teacher.method.times={name: lognormal, maen: 0}",
            "stages.teacher.method.times.maen is unknown, did you mean mean?",
        ),
        ("stages.teacher.train.stpes=3", "stages.teacher.train.stpes is unknown, did you mean steps?"),
        (
            "stages.progressive.train.stpes=3",
            "stages.progressive.train.stpes is unknown, did you mean steps?",
        ),
        ("train.stpes=3", "train.stpes is unknown, did you mean steps?"),
        ("train.roles.fake.lrr=3", "train.roles.fake.lrr is unknown, did you mean lr?"),
        (
            "stages.teacher.train.roles={fake: {ema: 0}}",
            "stages.teacher.train.roles.fake.ema is unknown, choose from betas,",
        ),
        ("train.zzz=3", "train.zzz is unknown, choose from batch, betas,"),
        ("bench.sampels=3", "bench.sampels is unknown"),
        ("bench.seed=3", "bench.seed is unknown, did you mean seeds?"),
        ("data.knid=moons", "data.knid is unknown, did you mean kind?"),
        ("data={name: digits, n: 3}", "data.n is unknown"),
    ],
)
def test_unknown_keys_name_their_path_and_the_nearest(assignment, message):
    assert complaint(changed(assignment)).startswith(message)


def test_a_misspelt_key_is_called_so_though_the_right_one_is_missing():
    source = without("stages", "teacher", "method")
    source["stages"]["teacher"]["metod"] = "denoising"
    assert complaint(source) == "stages.teacher.metod is unknown, did you mean method?"


@pytest.mark.parametrize("name", ["teacher", "train", "method", "init"])
def test_stages_may_be_called_like_their_own_keys(name):
    source = changed("stages.teacher.zzz=1")
    source["stages"] = {name: source["stages"]["teacher"]}
    known = "base, data, init, method, model, pairs, teacher, train"
    assert complaint(source) == f"stages.{name}.zzz is unknown, choose from {known}"


@pytest.mark.parametrize(
    "keys, message",
    [
        (("name",), "name is missing"),
        (("data",), "data is missing"),
        (("model",), "model is missing"),
        (("stages",), "stages is missing"),
        (("model", "net"), "model.net is missing"),
        (("stages", "teacher", "method"), "stages.teacher.method is missing"),
        (("model", "net", "name"), "model.net: expected a name"),
        (("data", "name"), "data: expected a name"),
    ],
)
def test_missing_keys(keys, message):
    assert complaint(without(*keys)).startswith(message)


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("data={name: images}", "data.path is missing"),
        ("name=3", "name: "),
        ("name=../up", "name: "),
        ("name=/tmp/x", "name: "),
        ("data=3", "data: "),
        ("model=mlp", "model: expected settings, {key: value}, got 'mlp'"),
        ("model.net=[1]", "model.net: "),
        ("model.scale_input=perhaps", "model.scale_input: "),
        ("model.sigma_data=0", "model.sigma_data: "),
        ("model.net.width=wide", "model.net.width: "),
        ("model.net.width=1.5", "model.net.width: "),
        ("data.n=many", "data.n: "),
        ("train=fast", "train: "),
        ("train.roles=3", "train.roles: expected settings, {key: value}"),
        ("train.roles.fake=3", "train.roles.fake: expected settings, {key: value}"),
        ("train.roles.fake.lr=fast", "train.roles.fake.lr: expected a number"),
        (
            "stages.teacher.train.roles.fake.lr=-1",
            "stages.teacher.train.roles.fake.lr = -1.0: expected at least 0",
        ),
        ("train.roles.fake.lr=1e4", "stages.teacher.train.roles.fake.lr = 10000.0: expected at most 1,000"),
        (
            "train.roles.fake.betas=[0, 1]",
            "stages.teacher.train.roles.fake.betas = 1.0: expected less than 1",
        ),
        (
            "train.roles.fake.optimizer=sgd",
            "train.roles.fake.optimizer: expected adam, adamw or radam, got 'sgd'",
        ),
        (
            "train.teacher_dtype=float16",
            "train.teacher_dtype: expected float32 or bfloat16, got 'float16'",
        ),
        ("train.lr=fast", "train.lr: expected a number"),
        ("train.lr=", "train.lr: expected a number"),
        ("train.steps=1.5", "train.steps: "),
        ("train.betas=[0.9]", "train.betas"),
        ("train.optimizer=sgd", "train.optimizer: expected adam, adamw or radam, got 'sgd'"),
        ("stages.teacher=denoising", "stages.teacher: expected settings, {key: value}, got 'denoising'"),
        ("stages.teacher.method=3", "stages.teacher.method: "),
        ("stages.teacher.method.times=3", "stages.teacher.method.times: expected a name"),
        ("stages.teacher.train.batch=lots", "stages.teacher.train.batch: "),
        ("stages.consistency.teacher=3", "stages.consistency.teacher: "),
        ("stages={}", "stages: "),
        ("stages=[1]", "stages: "),
        ("bench=true", "bench = True: expected settings, such as {n: 512}, or false for no benchmark"),
        ("bench.n=lots", "bench.n: "),
        ("bench.steps=4", "bench.steps: "),
        ("bench.steps=[]", "bench.steps = []"),
        ("bench.steps=[0, 1]", "bench.steps.0: expected at least 1, got 0"),
        ("bench.n=1", "bench.n: expected at least 2, got 1"),
        ("bench.batch=0", "bench.batch: expected at least 1, got 0"),
        ("bench.seeds=[]", "bench.seeds = []"),
        ("bench.clip=0", "bench.clip: expected above 0, got 0"),
        ("bench.baselines=[ddmi:4]", "bench.baselines: 'ddmi:4'"),
    ],
)
def test_wrong_types_and_values(assignment, message):
    assert complaint(changed(assignment)).startswith(message)


@pytest.mark.parametrize(
    "setting, least",
    [
        ("steps", 1),
        ("batch", 1),
        ("gradient_accumulation", 1),
        ("log_every", 1),
        ("save_every", 1),
        ("warmup", 0),
        ("sample_every", 0),
        ("lr", 0),
        ("max_grad_norm", 0),
        ("weight_decay", 0),
        ("save_minutes", 0),
        ("ema", 0),
        ("seed", 0),
    ],
)
def test_settings_below_their_least(setting, least):
    build(changed(f"stages.teacher.train.{setting}={least}"))
    said = complaint(changed(f"stages.teacher.train.{setting}={least - 1}"))
    assert (
        said.replace(".0:", ":") == f"stages.teacher.train.{setting} = {least - 1}: expected at least {least}"
    )


@pytest.mark.parametrize(
    "value",
    ["ema=1", "betas=[0.9, 1]", "betas=[-0.1, 0.9]", "lr=1e4", "batch=1e12", "seed=99999999999999999999"],
)
def test_settings_out_of_range(value):
    assert f"train.{value.partition('=')[0]} = " in complaint(changed(f"train.{value}"))


@pytest.mark.parametrize("setting", ["lr", "ema", "save_minutes"])
def test_what_is_no_number(setting):
    assert f"train.{setting}: expected a finite number" in complaint(changed(f"train.{setting}=.nan"))


@pytest.mark.parametrize(
    "assignment, choices",
    [
        ("model.net.name=mpl", "unet, mlp"),
        ("model.schedule=cosin", "ddpm, cosine, sigmoid"),
        ("model.predicts=w", "x0, eps, v"),
        ("model.time_input=clock", "timestep, thousand"),
        ("stages.teacher.method=denoise", "denoising, progressive"),
        ("stages.progressive.method.name=progresive", "denoising, progressive"),
        ("stages.teacher.method.times=lognormall", "uniform, lognormal"),
        ("bench.teacher=nobody", "teacher, progressive-4, progressive-2, consistency"),
        ("bench.models=[teacher, nobody]", "teacher, progressive-4, progressive-2, consistency"),
    ],
)
def test_unknown_names_list_the_choices(assignment, choices):
    said = complaint(changed(assignment))
    assert said.startswith(assignment.partition("=")[0].removesuffix(".name")) and choices in said
