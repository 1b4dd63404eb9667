"""Every public name of the package is there, for programs and for editors."""

import ast
from pathlib import Path

import pytest

import fastdiff


def test_every_public_name_is_there():
    assert set(fastdiff.__all__) <= set(dir(fastdiff))
    assert all(getattr(fastdiff, name) is not None for name in fastdiff.__all__)
    with pytest.raises(AttributeError, match="nosuch"):
        _ = fastdiff.nosuch


def test_nothing_else_is_listed():
    assert set(dir(fastdiff)) == {*fastdiff.__all__, "__version__"}


def test_editors_find_every_public_name():
    path = Path(fastdiff.__file__)
    [block] = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    named = {
        alias.asname: f"{node.module}.{alias.name}" if node.module else alias.name
        for node in block.body
        for alias in node.names
    }
    wanted = {name: f"{module}.{name}" for name, module in fastdiff.PUBLIC.items()} | fastdiff.MODULES
    assert named == wanted and (path.parent / "py.typed").is_file()
