"""The pages of documentation: code blocks run, commands parse, links lead somewhere, words are plain."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

import fastdiff
from fastdiff.cli import app as cli
from fastdiff.runs import recipe
from tests.helpers.documents import NAMES, PAGES, Page
from tests.helpers.paths import ROOT

COMMANDS = typer.main.get_command(cli.app).commands
QUICK = ("sample", "list", "export")  # run as they are printed; what they write is new
MADE = (  # what a reader makes by following a page
    "checkpoints/digits-quick",
    "checkpoints/try",
    "checkpoints/toy",
    "checkpoints/NAME",
    "checkpoints/shapes",
    "checkpoints/my-tract",
)
BANNED = (
    r"told|asked|heard|at hand|beside|upon|is none|so many|not to be had|lets go|mends|stands at|goes on|"
    r"evaluations an image|images a second"
)

of_each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def each(items):
    """One test for each item of each page, named after the page and the item's place on it."""
    cases = [(page, item, f"{page.name}-{i}") for page in PAGES for i, item in enumerate(items(page))]
    return pytest.mark.parametrize(
        "page, item", [case[:2] for case in cases], ids=[case[2] for case in cases]
    )


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A working directory with the shipped checkpoints and recipes in it."""
    for name in ("checkpoints", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registries():
    """Names that a block registers are forgotten after it."""
    registries = (fastdiff.SAMPLERS, fastdiff.METHODS, fastdiff.networks.NETWORKS)
    kept = [(registry, dict(registry)) for registry in registries]
    yield
    for registry, names in kept:
        registry.clear()
        registry.update(names)


@each(lambda page: page.blocks("python"))
def test_python_block(page, item, clone, registries):
    exec(compile(item, page.name, "exec"), {"__name__": "block"})


@each(lambda page: [command for command in page.commands() if command.split()[1] in QUICK])
def test_quick_command(page, item, clone, monkeypatch):
    monkeypatch.setattr("sys.argv", shlex.split(item))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    if "--out" in item:
        assert (clone / item.split("--out ")[1].split()[0]).exists()


@each(lambda page: page.commands())
def test_command_is_accepted(page, item):
    arguments = shlex.split(item)[1:]
    while arguments[0] == "--plugin":  # before the command's name
        del arguments[:2]
    name, *arguments = arguments
    COMMANDS[name].make_context(name, arguments)


@each(lambda page: page.blocks("bash"))
def test_bash_block_parses(page, item):
    assert subprocess.run(["bash", "-n"], input=item, text=True).returncode == 0
    for line in item.splitlines():
        command = re.search(r"(?:python|torchrun|accelerate) .* -m fastdiff (\w+)", line)
        assert not command or command[1] in COMMANDS


@each(lambda page: page.blocks("yaml"))
def test_yaml_block(page, item):
    source = yaml.safe_load(item)
    if "stages" in source:
        if any("tract" in str(stage["method"]) for stage in source["stages"].values()):
            return  # of a method that the page teaches; tests/methods/test_own_method.py runs it
        recipe.build(source)


@of_each_page
def test_inline_commands_exist(page):
    for code in page.inline():
        if verb := re.match(r"fastdiff ([a-z]+)", code):
            assert verb[1] in COMMANDS, code


@of_each_page
def test_links_lead_somewhere(page):
    for link in page.links():
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), link
        if anchor:
            assert anchor in Page(str(path.relative_to(ROOT))).anchors(), link


@of_each_page
def test_files_named_exist(page):
    for name in re.findall(r"(?<![\w./-])(?:recipes|checkpoints|fastdiff|tests)/[\w./-]*[\w]", page.text):
        assert (ROOT / name).exists() or name.startswith(MADE), name


@of_each_page
def test_words_are_plain(page):
    assert not re.findall(rf"\b(?:{BANNED})\b", page.prose)


def test_every_command_is_on_the_first_page():
    [table] = [table for table in Page("README.md").tables() if "command" in table[0]]
    assert {row["command"].strip("`").split()[1] for row in table} == set(COMMANDS)


def test_the_first_page_is_short_and_leads_to_all_others():
    first = Page("README.md")
    assert len(first.text.splitlines()) <= 200
    assert set(NAMES) - {"README.md"} <= set(first.links())
    assert (
        "pip install uv && uv run pytest" in "".join(first.blocks("bash")).splitlines()
    )  # CI runs this line


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "recipes").rglob("*.yaml")),
    ids=lambda path: str(path.relative_to(ROOT / "recipes")),
)
def test_a_recipe_opens_with_its_command_and_cost(path):
    text = path.read_text()
    header = re.match(r"(?:#.*\n)+", text)[0]
    assert header.count("\n") <= 8
    assert f"fastdiff run {path.relative_to(ROOT)}" in header and "\n# Cost" in header
    assert not re.findall(rf"\b(?:{BANNED})\b", header)
