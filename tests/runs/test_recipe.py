"""A recipe means what it says, or one line says which key does not."""

import copy
from pathlib import Path

import pytest
import torch
import yaml

from fastdiff.core.errors import FastdiffError
from fastdiff.methods import METHODS
from fastdiff.methods.base import LogNormal
from fastdiff.runs.recipe import build, load
from fastdiff.runs.recipe_file import differences, override
from fastdiff.runs.run import free
from fastdiff.training.config import FREE
from fastdiff.training.loop import TrainConfig

ROOT = Path(__file__).parents[2]
PLAIN = {
    "name": "plain",
    "data": {"name": "toy", "kind": "moons", "n": 64},
    "model": {"net": {"name": "mlp", "width": 8, "depth": 1}, "schedule": "cosine", "predicts": "v"},
    "train": {"batch": 16, "lr": 0.001},
    "stages": {
        "teacher": {"method": "denoising", "train": {"steps": 2}},
        "progressive": {"method": {"name": "progressive", "steps": [4, 2]}, "teacher": "teacher"},
        "consistency": {"method": "ect", "init": "teacher"},
    },
    "bench": {"steps": [1, 2], "n": 8},
}


def changed(*assignments: str) -> dict:
    """The plain recipe with some settings changed."""
    source = copy.deepcopy(PLAIN)
    for assignment in assignments:
        override(source, assignment)
    return source


def without(*keys: str) -> dict:
    source = copy.deepcopy(PLAIN)
    inner = source
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return source


def written(tmp_path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def dump(source: dict) -> str:
    return yaml.safe_dump(source, sort_keys=False)


def complaint(source: dict) -> str:
    with pytest.raises(FastdiffError) as caught:
        build(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What a good recipe becomes


def test_plain_recipe():
    recipe = build(PLAIN)
    assert [stage.name for stage in recipe.stages] == [
        "teacher",
        "progressive-4",
        "progressive-2",
        "consistency",
    ]
    assert [stage.method_name for stage in recipe.stages] == [
        "denoising",
        "progressive",
        "progressive",
        "ect",
    ]
    assert recipe.bench.steps == (1, 2) and recipe.bench.n == 8
    data = recipe.dataset()
    model = recipe.fresh_model(data)
    assert (len(data), data.shape, model.shape, model.predicts) == (64, (2,), (2,), "v")
    assert model.net.config.width == 8 and type(model.schedule).__name__ == "Cosine"
    assert model(torch.zeros(3, 2), torch.tensor(0.5, dtype=torch.float64)).x0.shape == (3, 2)


def test_a_list_is_a_chain_with_the_teacher_handed_down():
    source = changed(
        "stages.progressive.init=consistency", "stages.progressive.train={steps: [5, 6], betas: [0.5, 0.9]}"
    )
    source["stages"] = {k: source["stages"][k] for k in ("teacher", "consistency", "progressive")}
    *_, first, second = build(source).stages
    assert (first.teacher, first.init, first.method.steps, first.train.steps) == (
        "teacher",
        "consistency",
        4,
        5,
    )
    assert (second.teacher, second.init, second.method.steps, second.train.steps) == (
        "progressive-4",
        None,
        2,
        6,
    )
    assert first.train.betas == second.train.betas == (0.5, 0.9)


def test_a_chain_of_one_still_carries_its_value():
    assert build(changed("stages.progressive.method.steps=[4]")).stages[1].name == "progressive-4"
    assert build(changed("stages.progressive.method.steps=4")).stages[1].name == "progressive"


def test_defaults_give_way_from_the_outside_in():
    def train(*assignments):
        return build(changed("stages.progressive.method.steps=2", *assignments)).stages[1].train

    brings = METHODS["progressive"].training
    assert brings["ema"] != TrainConfig.ema and "warmup" not in brings and "decay" in brings
    assert train().warmup == TrainConfig.warmup  # TrainConfig
    assert train("train.warmup=7").warmup == 7  # < the recipe's train
    assert train("train.ema=0.5").ema == brings["ema"]  # < the method's training
    assert train("train.ema=0.5", "stages.progressive.train.ema=0.25").ema == 0.25  # < the stage's train
    assert build(changed("train.ema=0.5")).stages[0].train.ema == 0.5  # other methods bring none


def test_settings_of_roles_give_way_key_by_key(monkeypatch):
    brings = {"roles": {"fake": {"lr": 1.0, "clip": 5}, "critic": {"lr": 2.0}}}
    monkeypatch.setattr(METHODS["ect"], "training", brings)
    found = build(
        changed(
            "stages.consistency.train.roles={fake: {lr: 1e-4}, student: {betas: [0, 0.99], optimizer: radam}}",
            "train.weight_decay=0.5",
        )
    )
    roles = {role: found.stages[-1].train.of(role) for role in ("fake", "critic", "student", "other")}
    assert {role: (own.lr, own.clip) for role, own in roles.items()} == {
        "fake": (1e-4, 5),
        "critic": (2.0, 1),
        "student": (0.001, 1),
        "other": (0.001, 1),
    }
    assert (roles["student"].betas, roles["student"].optimizer, roles["fake"].optimizer) == (
        (0, 0.99),
        "radam",
        "adam",
    )
    assert {own.weight_decay for own in roles.values()} == {0.5} and found.stages[0].train.of(
        "fake"
    ).lr == 0.001
    assert METHODS["ect"].training is brings and brings["roles"]["fake"] == {"lr": 1.0, "clip": 5}


def test_settings_of_roles_fix_a_run():
    assert not {"roles", "teacher"} & set(FREE)
    assert not free("stages.student.train.roles.fake.clip") and free("stages.student.train.log_every")


def test_methods_take_nested_names():
    times = (
        build(changed("stages.teacher.method.times={name: lognormal, mean: -1, std: 2}"))
        .stages[0]
        .method.times
    )
    assert times == LogNormal(-1.0, 2.0)
    assert build(changed("stages.teacher.method.times=lognormal")).stages[0].method.times == LogNormal()


def test_schedules_and_data_take_options():
    recipe = build(changed("model.schedule={name: vp, beta_max: 15}", "data.n=1e2"))
    data = recipe.dataset()
    assert len(data) == 100 and recipe.fresh_model(data).schedule.beta_max == 15.0


def test_a_folder_can_be_the_data_and_reports_its_options(tmp_path):
    with pytest.raises(FastdiffError, match="no images found"):
        build(changed(f"data={tmp_path}")).dataset()
    with pytest.raises(FastdiffError, match="resolutoin"):
        build(changed(f"data={{name: {tmp_path}, resolutoin: 8}}")).dataset()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_build(path):
    recipe = load(path)
    assert recipe.stages and recipe.name == {"digits": "digits-quick", "digits-full": "digits"}.get(
        path.stem, path.stem
    )
    opening = path.read_text().split("\n")
    assert opening[0].startswith("# ") and any(
        f"fastdiff run recipes/{path.name}" in line for line in opening
    )


# Overrides


@pytest.mark.parametrize("assignment, keys, value", [
    ("train.lr=3e-4", ("train", "lr"), 3e-4),
    ("train.lr=1e-4", ("train", "lr"), 1e-4),
    ("train.lr=-2.5E+3", ("train", "lr"), -2500.0),
    ("bench.steps=[1, 4]", ("bench", "steps"), [1, 4]),
    ("bench.extractor=null", ("bench", "extractor"), None),
    ("data={name: toy, n: 5}", ("data",), {"name": "toy", "n": 5}),
    ("stages.consistency.method.halvings=3", ("stages", "consistency", "method"), {"name": "ect", "halvings": 3}),
    ("stages.teacher.train.flip=true", ("stages", "teacher", "train", "flip"), True),
    ("stages.consistency.train.steps=9", ("stages", "consistency", "train"), {"steps": 9}),
    ("bench.extractor=a=b", ("bench", "extractor"), "a=b"),
])  # fmt: skip
def test_overrides(assignment, keys, value):
    found = changed(assignment)
    for key in keys:
        found = found[key]
    assert found == value and type(found) is type(value)


def test_an_override_fills_an_empty_section(tmp_path):
    text = dump(without("train")) + "train:\n"
    recipe = load(written(tmp_path, text), ["train.lr=1e-4", "train.steps=1e1"])
    assert (recipe.stages[0].train.lr, recipe.stages[3].train.steps) == (1e-4, 10)


def test_1e_4_is_a_number_in_the_file_too(tmp_path):
    text = dump(changed("train.lr=1234")).replace("1234", "1e-4")
    recipe = load(written(tmp_path, text))
    assert recipe.source["train"]["lr"] == recipe.stages[0].train.lr == 1e-4
    assert not differences(recipe.source, load(written(tmp_path, text.replace("1e-4", "0.0001"))).source)


@pytest.mark.parametrize(
    "assignment",
    [
        "train.lr",
        "=3",
        "train..lr=3",
        ".lr=3",
        "train.=3",
        "train.lr=[1",
        "train.lr.x=3",
        "bench.steps.0=3",
        "train.lr=2024-99-99",
    ],
)
def test_bad_overrides(assignment):
    with pytest.raises(FastdiffError) as caught:
        override(copy.deepcopy(PLAIN), assignment)
    assert repr(assignment) in str(caught.value) and "\n" not in str(caught.value)


# Complaints


@pytest.mark.parametrize("assignment, message", [
    ("stagse={}", "stagse is unknown, did you mean stages?"),
    ("model.schedul=vp", "model.schedul is unknown, did you mean schedule?"),
    ("model.net.widht=4", "model.net.widht is unknown, did you mean width?"),
    ("model.schedule.beta_maks=4", "model.schedule.beta_maks is unknown"),
    ("model.schedule={name: vp, beta_maks: 4}", "model.schedule.beta_maks is unknown, did you mean beta_max?"),
    ("stages.teacher.trian={}", "stages.teacher.trian is unknown, did you mean train?"),
    ("stages.teacher.method.label_dropuot=0", "stages.teacher.method.label_dropuot is unknown, did you mean label_dropout?"),
    ("stages.teacher.method.times={name: lognormal, maen: 0}",
     "stages.teacher.method.times.maen is unknown, did you mean mean?"),
    ("stages.teacher.train.stpes=3", "stages.teacher.train.stpes is unknown, did you mean steps?"),
    ("stages.progressive.train.stpes=3", "stages.progressive.train.stpes is unknown, did you mean steps?"),
    ("train.stpes=3", "train.stpes is unknown, did you mean steps?"),
    ("train.roles.fake.lrr=3", "train.roles.fake.lrr is unknown, did you mean lr?"),
    ("stages.teacher.train.roles={fake: {ema: 0}}", "stages.teacher.train.roles.fake.ema is unknown, choose from betas,"),
    ("train.zzz=3", "train.zzz is unknown, choose from accumulate, batch,"),
    ("bench.sampels=3", "bench.sampels is unknown"),
    ("bench.seed=3", "bench.seed is unknown, did you mean seeds?"),
    ("data.knid=moons", "data.knid is unknown, did you mean kind?"),
    ("data={name: digits, n: 3}", "data.n is unknown"),
])  # fmt: skip
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


@pytest.mark.parametrize("keys, message", [
    (("name",), "name is missing"),
    (("data",), "data is missing"),
    (("model",), "model is missing"),
    (("stages",), "stages is missing"),
    (("model", "net"), "model.net is missing"),
    (("stages", "teacher", "method"), "stages.teacher.method is missing"),
    (("model", "net", "name"), "model.net: expected a name"),
    (("data", "name"), "data: expected a name"),
])  # fmt: skip
def test_missing_keys(keys, message):
    assert complaint(without(*keys)).startswith(message)


@pytest.mark.parametrize("assignment, message", [
    ("data={name: images}", "data.path is missing"),
    ("name=3", "name: "),
    ("name=../up", "name: "),
    ("name=/tmp/x", "name: "),
    ("data=3", "data: "),
    ("model=mlp", "model: input should be a valid dictionary, got 'mlp'"),
    ("model.net=[1]", "model.net: "),
    ("model.scale_input=perhaps", "model.scale_input: "),
    ("model.sigma_data=0", "model.sigma_data: "),
    ("model.net.width=wide", "model.net.width: "),
    ("model.net.width=1.5", "model.net.width: "),
    ("data.n=many", "data.n: "),
    ("train=fast", "train: "),
    ("train.roles=3", "train.roles: input should be a valid dictionary"),
    ("train.roles.fake=3", "train.roles.fake: input should be a valid dictionary"),
    ("train.roles.fake.lr=fast", "train.roles.fake.lr: input should be a valid number"),
    ("stages.teacher.train.roles.fake.lr=-1", "stages.teacher.train.roles.fake.lr = -1.0: expected at least 0"),
    ("train.roles.fake.lr=1e4", "stages.teacher.train.roles.fake.lr = 10000.0: expected at most 1000"),
    ("train.roles.fake.betas=[0, 1]", "stages.teacher.train.roles.fake.betas = 1.0: expected 0 to less than 1"),
    ("train.roles.fake.optimizer=sgd", "train.roles.fake.optimizer: input should be 'adam', 'adamw' or 'radam', got 'sgd'"),
    ("train.teacher=float16", "train.teacher: input should be 'float32' or 'bfloat16', got 'float16'"),
    ("train.lr=fast", "train.lr: input should be a valid number"),
    ("train.lr=", "train.lr: input should be a valid number"),
    ("train.steps=1.5", "train.steps: "),
    ("train.betas=[0.9]", "train.betas"),
    ("train.optimizer=sgd", "train.optimizer: input should be 'adam', 'adamw' or 'radam', got 'sgd'"),
    ("stages.teacher=denoising", "stages.teacher: input should be a valid dictionary, got 'denoising'"),
    ("stages.teacher.method=3", "stages.teacher.method: "),
    ("stages.teacher.method.times=3", "stages.teacher.method.times: expected a name"),
    ("stages.teacher.train.batch=lots", "stages.teacher.train.batch: "),
    ("stages.consistency.teacher=3", "stages.consistency.teacher: "),
    ("stages={}", "stages: "),
    ("stages=[1]", "stages: "),
    ("bench.n=lots", "bench.n: "),
    ("bench.steps=4", "bench.steps: "),
    ("bench.steps=[]", "bench.steps = []"),
    ("bench.steps=[0, 1]", "bench.steps = [0, 1]"),
    ("bench.n=1", "bench.n = 1"),
    ("bench.batch=0", "bench.batch = 0"),
    ("bench.seeds=[]", "bench.seeds = []"),
    ("bench.clip=0", "bench.clip = 0"),
    ("bench.baselines=[ddmi:4]", "bench.baselines: 'ddmi:4'"),
])  # fmt: skip
def test_wrong_types_and_values(assignment, message):
    assert complaint(changed(assignment)).startswith(message)


@pytest.mark.parametrize("setting, least", [
    ("steps", 1), ("batch", 1), ("accumulate", 1), ("log_every", 1), ("save_every", 1), ("warmup", 0), ("sample_every", 0),
    ("lr", 0), ("clip", 0), ("weight_decay", 0), ("save_minutes", 0), ("ema", 0), ("seed", 0),
])  # fmt: skip
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
    assert f"train.{setting}: input should be a finite number" in complaint(changed(f"train.{setting}=.nan"))


@pytest.mark.parametrize("assignment, choices", [
    ("model.net.name=mpl", "unet, mlp"),
    ("model.schedule=cosin", "ddpm, cosine, sigmoid"),
    ("model.predicts=w", "'x0', 'eps', 'v'"),
    ("model.time_input=clock", "'timestep', 'thousand'"),
    ("stages.teacher.method=denoise", "denoising, progressive"),
    ("stages.progressive.method.name=progresive", "denoising, progressive"),
    ("stages.teacher.method.times=lognormall", "uniform, lognormal"),
    ("bench.teacher=nobody", "teacher, progressive-4, progressive-2, consistency"),
    ("bench.models=[teacher, nobody]", "teacher, progressive-4, progressive-2, consistency"),
])  # fmt: skip
def test_unknown_names_list_the_choices(assignment, choices):
    said = complaint(changed(assignment))
    assert said.startswith(assignment.partition("=")[0].removesuffix(".name")) and choices in said


@pytest.mark.parametrize("assignment, message", [
    ("stages.progressive.teacher=consistency", "stages.progressive.teacher: 'consistency' is no earlier stage and no path"),
    ("stages.progressive.teacher=techer", "no earlier stage and no path, did you mean teacher?"),
    ("stages.consistency.init=progressive-8", "stages.consistency.init: 'progressive-8' is no earlier stage and no path"),
    ("stages.teacher.init=teacher", "stages.teacher.init: 'teacher' is no earlier stage and no path"),
    ("stages.progressive.teacher=null", "stages.progressive.teacher is missing: method progressive learns from a teacher"),
    ("stages.progressive.teacher=''", "stages.progressive.teacher is missing"),
    ("stages.progressive.method.steps=[]", "stages.progressive.method: a chain is one list of values"),
    ("stages.consistency.method={name: ect, halvings: [1, 2], start: [0.5]}", "stages.consistency.method.start: "),
    ("stages.progressive.method.steps=[4, four]", "stages.progressive.method.steps: "),
    ("stages.progressive.method.steps=[4, 4]", "stages.progressive: two stages would be called progressive-4"),
    ("stages.progressive-4.method=denoising", "stages.progressive-4: two stages would be called progressive-4"),
    ("stages.progressive.train.steps=[1, 2, 3]", "stages.progressive.train.steps: 3 values for a chain of 2 stages"),
    ("stages.teacher.train.steps=[1, 2]", "stages.teacher.train.steps: "),
])  # fmt: skip
def test_stages_that_do_not_fit_together(assignment, message):
    assert message in complaint(changed(assignment))


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/tmp/x", "samples", "influence", ".hidden"])
def test_a_stage_is_named_like_a_folder(name):
    source = copy.deepcopy(PLAIN)
    source["stages"] = {name: source["stages"]["teacher"]}
    assert "names a folder" in complaint(source)


@pytest.mark.parametrize("path", ["runs/a/teacher", "google/ddpm", "~/model", "./model"])
def test_paths_and_hub_ids_are_left_to_loading(path):
    assert build(changed(f"stages.progressive.teacher={path}")).stages[1].teacher == path


# Files


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path, written(tmp_path, "x") / "under"):
        with pytest.raises(FastdiffError, match=f"^recipe {path}: cannot be read"):
            load(path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FastdiffError, match="cannot be read"):
        load(tmp_path / "binary.yaml")


@pytest.mark.parametrize("text, message", [
    ("name: [1", "not valid YAML"), ("a: b: c", "not valid YAML"), ("\tx: 1", "not valid YAML"),
    ("x: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ("", "expected name, data, model and stages"), ("- 1", "expected name, data, model and stages"),
    ("1: 2", ""),
])  # fmt: skip
def test_files_that_are_no_recipe(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(FastdiffError) as caught:
        load(path)
    assert str(caught.value).startswith(f"recipe {path}: {message}") and "\n" not in str(caught.value)


def test_complaints_name_the_file(tmp_path):
    path = written(tmp_path, dump(PLAIN))
    with pytest.raises(FastdiffError) as caught:
        load(path, ["train.stpes=3"])
    assert str(caught.value) == f"recipe {path}: train.stpes is unknown, did you mean steps?"


# Differences


def test_differences():
    assert differences(PLAIN, copy.deepcopy(PLAIN)) == []
    assert differences({}, {"train": {}}) == [] and differences({"train": {"keep": 1}}, {}) == [
        ("train.keep", 1, None)
    ]
    assert differences(PLAIN, changed("train.lr=2")) == [("train.lr", 0.001, 2)]
    assert differences(PLAIN, changed("train.ema=0.5")) == [("train.ema", None, 0.5)]
    assert differences(changed("train.ema=0.5"), PLAIN) == [("train.ema", 0.5, None)]
    assert differences(PLAIN, changed("stages.progressive.method.steps=[4]", "name=other")) == [
        ("name", "plain", "other"),
        ("stages.progressive.method.steps", [4, 2], [4]),
    ]
    assert differences(PLAIN, changed("stages.consistency.method.start=1")) == [
        ("stages.consistency.method", "ect", {"name": "ect", "start": 1})
    ]


# ---- include


def files(folder, **recipes) -> Path:
    """Recipes as files, of which the first one's path is told."""
    for name, source in recipes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(source, sort_keys=False))
    return folder / f"{next(iter(recipes))}.yaml"


def test_included_stages_are_those_of_their_own_recipes(tmp_path):
    (tmp_path / "parts").mkdir()
    files(tmp_path / "parts", one=PLAIN, two=PLAIN | {"stages": {"other": {"method": "ect"}}})
    path = files(
        tmp_path,
        all={
            "name": "all",
            "include": ["parts/one.yaml", "parts/two.yaml"],
            "stages": {"mine": {"method": "cd", "teacher": "teacher"}},
        },
    )
    found, one = load(path), load(tmp_path / "parts" / "one.yaml")
    assert [stage.name for stage in found.stages] == [*(stage.name for stage in one.stages), "other", "mine"]
    assert found.stages[: len(one.stages)] == one.stages and found.model == one.model
    assert build(found.source).stages == found.stages  # what a run's directory keeps says the same by itself
    assert load(path, ["stages.teacher.train.steps=3"]).stages[0].train.steps == 3


def test_one_stage_may_come_in_by_two_recipes(tmp_path):
    path = files(tmp_path, all={"name": "all", "include": ["one.yaml", "two.yaml"]}, one=PLAIN, two=PLAIN)
    assert load(path).stages == build(PLAIN).stages


@pytest.mark.parametrize(
    ("all_", "one", "message"),
    [
        ({"include": ["one.yaml"], "data": {"name": "digits"}}, PLAIN, "one.yaml has data.name = toy"),
        ({"include": ["one.yaml"], "train": {"batch": 8}}, PLAIN, "one.yaml has train.batch = 16"),
        (
            {"include": ["one.yaml"], "stages": {"teacher": {"method": "ect"}}},
            PLAIN,
            "one.yaml has a stage teacher",
        ),
        ({"include": ["one.yaml"]}, PLAIN | {"stages": [1]}, "one.yaml: expected stages"),
        ({"include": "one.yaml"}, PLAIN, "include: expected a list"),
        ({"include": ["all.yaml"]}, PLAIN, "it includes itself"),
        ({"include": ["none.yaml"]}, PLAIN, "none.yaml: cannot be read"),
        ({"include": ["a\0.yaml"]}, PLAIN, "cannot be read"),
        ({"include": ["one.yaml"]}, PLAIN | {"trian": {"steps": 9}}, "trian is unknown, did you mean train"),
        ({"include": ["one.yaml"], "train": {3: 1}}, PLAIN, "one.yaml has train.3 = None"),
    ],
)
def test_includes_that_do_not_fit(tmp_path, all_, one, message):
    path = files(tmp_path, all={"name": "all", **all_}, one=one)
    with pytest.raises(FastdiffError, match=message):
        load(path)


def test_aliases_are_copies(tmp_path):
    text = (
        "name: two\ndata: toy\nmodel: {net: mlp}\nstages:\n  one: {method: denoising, train: &t {steps: 5}}\n"
        "  two: {method: denoising, train: *t}\n"
    )
    (tmp_path / "two.yaml").write_text(text)
    assert [
        stage.train.steps for stage in load(tmp_path / "two.yaml", ["stages.one.train.steps=7"]).stages
    ] == [7, 5]
    (tmp_path / "two.yaml").write_text("model: &m {x: *m}\n")
    with pytest.raises(FastdiffError, match="an anchor contains itself"):
        load(tmp_path / "two.yaml")
