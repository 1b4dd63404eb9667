"""Nothing in the package runs what it reads."""

import ast

import pytest

from tests.helpers.paths import HOUSE

pytestmark = pytest.mark.usefixtures("little_memory")


TREES = {path: ast.parse(path.read_text()) for path in sorted(HOUSE.rglob("*.py"))}
# The one place that runs code: a file that the user names as a plugin.
PLUGINS = HOUSE / "core" / "plugins.py"
OWN_PLUGINS = {
    node
    for node in ast.walk(TREES[PLUGINS])
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("exec", "compile")
}
WINGS = sorted({path.relative_to(HOUSE).parts[0] for path in TREES})


def dotted(node):
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


@pytest.mark.parametrize("wing", WINGS)
def test_nothing_in_the_package_runs_what_it_reads(wing):
    trees = [tree for path, tree in TREES.items() if path.relative_to(HOUSE).parts[0] == wing]
    assert trees
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and dotted(node).startswith("pickle."):
            assert dotted(node) == "pickle.UnpicklingError"
        if isinstance(node, ast.ImportFrom):
            assert node.module not in ("pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle")
        if not isinstance(node, ast.Call):
            continue
        if node in OWN_PLUGINS:
            continue
        name, given = dotted(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert name not in (
            "eval",
            "exec",
            "compile",
            "__import__",
            "os.system",
            "os.popen",
            "yaml.load",
            "yaml.full_load",
            "yaml.unsafe_load",
            "torch.hub.load",
            "torch.jit.load",
            "runpy.run_path",
        )
        assert name != "torch.load" or given["weights_only"] == "True"
        assert given.get("shell", "False") == "False" and given.get("allow_pickle", "False") == "False"
        assert given.get("use_safetensors", "True") == "True"
        if name.endswith(".from_pretrained"):
            assert "use_safetensors" in given or name.startswith("tokenizer.")  # which have no weights


def test_plugins_alone_run_code_in_one_place():
    assert sorted(node.func.id for node in OWN_PLUGINS) == ["compile", "exec"]


def test_no_code_of_a_repository_is_trusted():
    assert [path for path in TREES if "trust_remote_code" in path.read_text()] == []
