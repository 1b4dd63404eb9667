"""What a user gets wrong, and the line that says so."""

import json

import pytest

RECIPE = """
name: tiny
data: {name: toy, n: 32}
model: {net: {name: mlp, width: 8, depth: 1}}
train: {steps: 2, batch: 8}
stages:
  teacher: {method: denoising}
  student: {method: ect, init: teacher}
bench: {steps: [1], baselines: [], n: 8}
"""


ROW = {
    "key": "k",
    "model": "teacher",
    "sampler": "ddim",
    "spacing": "uniform",
    "steps": 1,
    "nfe": 1,
    "guidance": 1,
    "seed": 0,
    "n": 8,
    "fid": 3.0,
    "ms_per_image": 1.0,
}


BENCH = "bench points --data toy --n 8 --steps 2 --baselines ddim:1 --out out "


DIGITS = "bench images --data digits --n 8 --steps 1 --baselines ddim:1 --out out "


def said(line, message):
    """A command line and the pattern of its refusal."""
    return pytest.param(line, {}, message, id=line[-70:])


def recipe(change, message):
    """The recipe with some of its text replaced, once."""
    old, _, new = change.partition(" -> ")
    assert RECIPE.count(old) == 1, old
    return pytest.param(
        "run changed.yaml", {"changed.yaml": RECIPE.replace(old, new)}, message, id=change[:70]
    )


def rows(message, *lines, line="report rows"):
    """A file of rows."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    return pytest.param(line, {"rows/bench.jsonl": "\n".join([*texts, ""])}, message, id=f"{line}: {message}")


CASES = [
    # command lines
    said("smaple", r"No such command 'smaple'.*see fastdiff --help"),
    said("run", "Missing argument.*see fastdiff run --help"),
    said("sample points --stpes 3", "No such option: --stpes .*--steps.*see fastdiff sample --help"),
    said("sample points --n many", "'--n'.*valid integer"),
    said("sample points --precision fp8", "'--precision'.*fp8.*'no', 'bf16', 'fp16'"),
    said("sample points points", r"unexpected extra argument.*points"),
    said("run recipe.yaml --only", "'--only' requires an argument"),
    said("export points", "Missing option '--out'"),
    said("export points --to onnx --out x", "'--to'.*'onnx' is not one of 'diffusers'"),
    said("list nothing", "list nothing: unknown, choose from .*methods"),
    said("list methods meanflw", "list methods meanflw: unknown, did you mean meanflow?"),
    said("doctor --all", "No such option: --all"),
    said("sample points --seed 99999999999999999999", "--seed 9+: expected a whole number of 64 bits"),
    said("sample points --n 1000000000000", "n = 1000000000000: expected at least 1, and at most"),
    said(
        "sample points --steps 1000000000000",
        "steps = 1000000000000: expected at least 1, and at most 1000000",
    ),
    said("sample points --batch 1000000000000", "batch = 1000000000000: expected at least 1, and at most"),
    said("sample points --out x.jpg", r"--out x.jpg: expected a .png for one sheet, or a folder"),
    said("sample points --sampler ddim[eta", r"sampler 'ddim\[eta': expected a name, or name\[option=value"),
    said("sample points --sampler ddim[eta=x]", r"sampler ddim.eta: expected a number.*'x'"),
    said("sample points --sampler ddim[eta=nan]", "sampler ddim.eta: expected a finite number"),
    said("sample points --sampler ddim[eta=-1]", "sampler ddim.eta: expected at least 0"),
    said("sample points --sampler ddim[ate=1]", "sampler ddim.ate is unknown, choose from eta"),
    said("sample points --spacing 1,2,3", "3 times for 50 steps: expected one per step"),
    said(
        "sample points --spacing 0.5,0.7 --steps 2",
        "0.5, 0.7: expected decreasing times, at most t_max = 1 and above 0",
    ),
    said("sample points --guide clip=-1", "--guide.clip: expected above 0"),
    said("sample points --guide threshold=2", "--guide.threshold: expected less than 1"),
    said(
        "sample labels --labels 3 --n 1 --guidance nan",
        "guidance = nan: expected a finite number; 1 turns guidance off",
    ),
    said("sample images --labels 3 --n 1", "labels: this model takes no labels"),
    said("sample images --init-image pictures --strength 2", "strength = 2.0: expected a fraction"),
    said("sample images --init-image pictures --strength nan", "strength = nan: expected a fraction"),
    said("sample images --init-image empty", "empty: expected an image file, or a folder of them"),
    said("sample images --init-image file.txt", "file.txt: not a readable image"),
    said("sample images --init-image pictures --mask file.txt", "file.txt: not a readable image"),
    said(
        "sample points --init-image pictures",
        r"pictures: expected a model of images, but this model.s samples have the shape \(2,\)",
    ),
    said("search points --data toy --steps 0", "steps = 0: expected at least 1"),
    said("search points --data toy --rounds 0", "rounds = 0: expected at least 1"),
    said("search points --data toy --guidance 3", "guidance = 3: needs labels"),
    said("search points --data digits", r"makes samples of shape \(2,\), the data digits have \(1, 8, 8\)"),
    said(BENCH + "--guidance nan", "--guidance nan: expected numbers separated by commas"),
    said(BENCH + "--n 1000000000000", "bench.n = 1000000000000: expected at most 10,000,000"),
    said(
        BENCH + "--steps 99999999",
        "bench.steps = 99999999: expected at most 1,000,000",
    ),
    said(BENCH + "--baselines ddpm:0", "bench.baselines: 'ddpm:0': expected sampler:steps"),
    said(BENCH + "--spacings nosuch", "bench.spacings: 'nosuch' is unknown, choose from uniform"),
    said(BENCH + "--spacings karras[roh=5]", "spacing karras.roh is unknown, did you mean rho"),
    said(BENCH + "--samplers ddim[eta=x]", "sampler ddim.eta: expected a number"),
    said(BENCH + "--metrics fad", "bench.metrics: 'fad' is unknown, did you mean fd"),
    said(BENCH + "--budget soon", "bench.budget = 'soon': expected a time such as 90s"),
    said(BENCH + "--training", "--training needs --speed"),
    said(
        "bench points --speed --training --methods nosuch",
        "--methods: 'nosuch' is unknown, choose from denoising",
    ),
    said("status nosuch", "nosuch is not a run directory: it has no recipe.yaml; name a directory"),
    said("status empty", "empty is not a run directory: it has no recipe.yaml"),
    said("status file.txt", "file.txt is not a run directory"),
    said("judge nosuch --results", "nosuch: no such directory; expected the directory of a run"),
    said("judge run", "no rows in run/bench.jsonl: run `fastdiff bench` or `fastdiff run` first"),
    # recipes
    recipe("n: 32 -> n: 1e12", "data.n: expected at most 10,000,000"),
    recipe("n: 32 -> seed: 99999999999999999999", "data.seed: expected less than"),
    recipe("n: 32 -> kind: moon", "toy kind = .moon.: expected one of mixture"),
    recipe("width: 8 -> width: 0", "model.net.width: expected at least 1, got 0"),
    recipe("width: 8 -> width: 1e9", "model.net.width: expected at most 65,536"),
    recipe("depth: 1 -> depth: -1", "model.net.depth: expected at least 0, got -1"),
    recipe("depth: 1}} -> depth: 1}, labels: true}", "model.labels: the data set toy has no labels"),
    recipe("depth: 1}} -> depth: 1}, sigma_data: .inf}", "model.sigma_data: expected a finite number"),
    recipe(
        "depth: 1}} -> depth: 1}, schedule: {name: vp, beta_max: -5}}",
        "model.schedule.beta_max: expected at least 1, got -5",
    ),
    recipe(
        "depth: 1}} -> depth: 1}, schedule: {name: cosine, t_max: 2}}",
        "model.schedule.t_max: expected at most 1",
    ),
    recipe(
        "depth: 1}} -> depth: 1}, schedule: {name: ddpm, t_max: 9.5}}",
        "model.schedule.t_max: expected a multiple of 1",
    ),
    recipe("name: mlp -> name: unet, channels: [], x: 1", "model.net.x is unknown"),
    recipe(
        "name: mlp, width: 8, depth: 1 -> name: unet, channels: [8, 0]",
        "model.net.channels.1: expected at least",
    ),
    recipe("steps: 2, -> steps: 2, lr: .inf,", "train.lr: expected a finite number, got inf"),
    recipe("steps: 2, -> steps: 2, lr: 1e9,", "train.lr = 1000000000.0: expected at most 1,000"),
    recipe(
        "batch: 8 -> batch: 8, roles: {student: {lrr: 1}}",
        "train.roles.student.lrr is unknown, did you mean lr",
    ),
    recipe(
        "batch: 8 -> batch: 8, roles: {fake: {lr: 1}}",
        "train.roles.fake: the method trains no such role, choose from student",
    ),
    recipe("batch: 8 -> batch: 1e12", "train.batch = 1000000000000: expected at most 1,000,000"),
    recipe(
        "batch: 8 -> batch: 8, seed: 99999999999999999999",
        "train.seed = .*: expected at most 9,223,372,036,854,775,807",
    ),
    recipe(
        "batch: 8 -> batch: 8, precision: fp8",
        "train.precision: expected no, bf16 or fp16, got 'fp8'",
    ),
    recipe("batch: 8 -> true: 8", "train.True is not a key: expected a word"),
    recipe(
        "method: ect -> method: {name: ect, start: 0}",
        "stages.student.method.start: expected above 0, got 0",
    ),
    recipe(
        "method: ect -> method: {name: ct, s0: 1}",
        "stages.student.method.s0 = 1 and s1 = 150: expected 2 <= s0",
    ),
    recipe(
        "method: ect -> method: {name: ect, times: {name: karras, points: 1}}",
        "stages.student.method.times.points: expected at least 2, got 1",
    ),
    recipe("method: ect -> method: kd", "stages.student.data is missing: method kd needs stored pairs"),
    recipe(
        "init: teacher -> init: teacher, data: {name: nothing, shape: [2]}",
        "stages.student.data: `nothing` has no images, and method ect with these settings needs images",
    ),
    recipe("name: toy, n: 32 -> name: nothing", "data.shape is missing"),
    recipe("init: teacher -> init: ./images", r"stage student: ./images makes samples of shape \(1, 8, 8\)"),
    recipe(
        "init: teacher -> init: ./empty",
        "empty is not a model: expected fastdiff.json or model_index.json in it",
    ),
    recipe(
        "method: ect, init -> pairs: {n: 0}, teacher",
        "stages.student.pairs.n: expected at least 1, got 0",
    ),
    recipe(
        "baselines: [] -> seeds: [99999999999999999999]",
        "bench.seeds.0: expected less than 9,223,372,036,854,775,808, got 99999999999999999999",
    ),
    recipe("baselines: [] -> samplers: [dim]", "bench.samplers: 'dim' is unknown, did you mean ddim"),
    recipe("baselines: [] -> clip: .nan", "bench.clip: expected above 0, got nan"),
    recipe(
        "baselines: [] -> extractor: inception",
        "extractor inception: vectors are compared without one; leave",
    ),
    # data
    said(
        "run recipe.yaml data=nosuch",
        "data set 'nosuch': not one of digits, toy, .*could not be found on the Hub",
    ),
    said(
        "run recipe.yaml data=pictures",
        r"model.net: mlp: expected vectors \(D,\), but the data have shape .*; use unet",
    ),
    said(
        "run recipe.yaml data=file.txt", "file.txt: expected a folder of images, parquet files or tar shards"
    ),
    said("run recipe.yaml data=empty", r"empty: no images found \(.apng, .bmp"),
    said("evaluate nosuch --data digits", "data set 'nosuch': cannot be loaded"),
    said("evaluate pictures --data digits", "n = 1: expected at least 6 samples for the metrics"),
    said(
        DIGITS + "--extractor nosuch",
        "extractor nosuch: no such file, folder or name: choose from pixels, inception",
    ),
    said(
        DIGITS + "--extractor empty",
        "extractor empty: expected a folder with model.safetensors and features.json",
    ),
    said(
        DIGITS + "--extractor inception:file.txt",
        "file.txt: not the weights of inception.*; replace or delete it",
    ),
    # models
    said("sample file.txt", "file.txt is a file: expected a run's stage, a diffusers folder or a hub id"),
    said(
        "sample run",
        "run is not a model: expected fastdiff.json or model_index.json in it; name a stage of a run",
    ),
    said("sample nobody/nothing", "nobody/nothing: no such folder, and it could not be found on the Hub"),
    # rows files
    rows(r'line 1: expected a JSON object with a "key"; repair or delete', "not json", {"key": "k"}),
    rows(r'line 2: expected a JSON object with a "key"', {"key": "k"}, {"key": 3}, {"key": "l"}),
    rows("no metric in these rows: expected fid", {"key": "k", "model": "m"}),
    rows("row l: model is missing; delete that line and run the benchmark again", {"key": "l", "fid": 3}),
    rows("line 1: model = 3 is not valid; repair or delete that line", ROW | {"model": 3}),
    rows("line 1: model = \\['m'\\] is not valid; repair", ROW | {"model": ["m"]}),
    rows("line 1: steps = 'one' is not valid; repair", ROW | {"steps": "one"}),
    rows("line 1: fid = 'low' is not valid; repair", ROW | {"fid": "low"}),
    rows("line 1: broken = 3 is not valid; repair", ROW | {"broken": 3}),
    rows("rows/bench.jsonl: rows of teacher have no cell", ROW, line="judge rows"),
]


REAL = [
    "sample points --stpes 3",
    "sample points --sampler ddim[eta=nan]",
    "status empty",
    "n: 32 -> n: 1e12",
    "report rows: line 1: steps = 'one' is not valid; repair",
]
