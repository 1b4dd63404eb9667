"""Former names of recipe keys, options and Python names: each still works, and means the same."""

import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file

import fastdiff as package
from fastdiff.core import former_names
from fastdiff.core.errors import FastdiffError
from fastdiff.core.former_names import (
    METHOD_HOOKS,
    METHOD_KEYS,
    TRAIN_KEYS,
    renamed_options,
    renamed_role_tensors,
)
from fastdiff.core.sampling import Sampling
from fastdiff.core.schedule import Cosine
from fastdiff.data.toys import toy
from fastdiff.methods.base import Method, Progress
from fastdiff.runs.recipe import build
from fastdiff.runs.recipe_file import override
from fastdiff.training.checkpoint import load_state, save_state
from fastdiff.training.config import RoleConfig, TrainConfig, merge_train_config
from fastdiff.training.loop import Training
from fastdiff.training.roles import roles_of
from tests.helpers.recipes import PLAIN
from tests.helpers.tiny_students import student
from tests.helpers.trainings import Duel, made

VALUES = {
    "decay": "cosine",
    "clip": 0.5,
    "teacher": "bfloat16",
    "export": "float16",
    "accumulate": 2,
    "keep": 3,
}


def train_of(**settings):
    """The training settings of a recipe that has some of its own."""
    source = copy.deepcopy(PLAIN)
    source["train"] |= settings
    return build(source).stages[0].train


@pytest.mark.parametrize(("former", "present"), TRAIN_KEYS.items())
def test_training_settings(former, present):
    assert train_of(**{former: VALUES[former]}) == train_of(**{present: VALUES[former]}) != train_of()
    assert getattr(merge_train_config({former: VALUES[former]}, path="train"), present) == VALUES[former]
    source = copy.deepcopy(PLAIN)
    override(source, f"train.{former}={VALUES[former]}")
    assert source["train"][present] == VALUES[former] and former not in source["train"]
    override(source, f"stages.teacher.train.{present}={VALUES[former]}")
    assert source["stages"]["teacher"]["train"] == {"steps": 2, present: VALUES[former]}


def test_both_names_of_one_key_are_refused():
    with pytest.raises(FastdiffError, match="train.clip is the former name of train.max_grad_norm: give one"):
        train_of(clip=1.0, max_grad_norm=2.0)


def test_roles():
    former = train_of(roles={"critic": {"lr": 0.5, "clip": 2.0}})
    assert former == train_of(roles={"discriminator": {"lr": 0.5, "max_grad_norm": 2.0}})
    assert former.of("discriminator").lr == former.of("critic").lr == 0.5
    assert TrainConfig(roles={"critic": RoleConfig(lr=0.5)}).of("critic").lr == 0.5


def test_a_method_of_the_users_may_have_a_role_of_a_former_name():
    """The recipe's `roles: {critic: ...}` reaches it, though the recipe is read by the present name."""
    nets = {"student": torch.nn.Linear(1, 1), "critic": torch.nn.Linear(1, 1)}
    roles = roles_of(nets, train_of(roles={"critic": {"lr": 0.5}}))
    assert (roles["critic"].config.lr, roles["student"].config.lr) == (0.5, train_of().lr)


@pytest.mark.parametrize(("former", "present"), METHOD_KEYS.items())
def test_settings_of_methods(former, present):
    name = "gan" if former == "critic_turns" else "dmd2"

    def method(**settings):
        source = copy.deepcopy(PLAIN)
        source["stages"]["extra"] = {"method": {"name": name, **settings}, "teacher": "teacher"}
        return build(source).stages[-1].method

    assert getattr(method(**{former: 3}), present) == 3 == getattr(method(**{present: 3}), present)


def test_hooks_of_methods():
    @dataclass
    class Former(Method):
        teaches: ClassVar[bool] = True
        paired: ClassVar[bool] = True

        def extras(self, student, teacher):
            return {"more": student}

        def frozen(self, student, teacher):
            return {"still": student}

        def averages(self):
            return {"target": lambda progress: 0.5}

        def ready(self, shape, device):
            self.was_validated = True

    method, net = Former(), torch.nn.Linear(1, 1)
    assert set(METHOD_HOOKS) <= set(vars(Former))
    assert method.needs_teacher and method.needs_pairs and set(method.target_emas()) == {"target"}
    assert method.trainable_networks(net, None) == {"more": net}
    assert method.frozen_networks(net, None) == {"still": net}
    method.validate((1,), torch.device("cpu"))
    assert method.was_validated


def test_former_hooks_reach_present_ones_by_super():
    class Present(Method):
        def trainable_networks(self, student, teacher):
            return {"fake": student}

    class Former(Present):
        def extras(self, student, teacher):
            return super().extras(student, teacher) | {"more": teacher}

    class Newest(Former):
        def trainable_networks(self, student, teacher):
            return super().trainable_networks(student, teacher) | {"most": teacher}

    assert list(Newest().extras(1, 2)) == list(Newest().trainable_networks(1, 2)) == ["fake", "more", "most"]
    assert Method().extras(1, 2) == {} and not Present().teaches


def test_a_state_with_a_former_role_is_resumed(tmp_path):
    """A training of four steps that stops at two, and whose state then gets the former name of its role."""

    def begun(folder, steps):
        config = TrainConfig(steps=steps, batch=16, save_every=2)
        student, teacher, accelerator = made(0), made(1), Accelerator(cpu=True)
        return Training(Duel(), Progress, student, teacher, toy(n=64), config, folder, accelerator)

    whole = begun(tmp_path / "whole", 4)
    for _ in whole:
        pass
    for _ in zip(range(2), begun(tmp_path / "parted", 4)):
        pass
    path = tmp_path / "parted/state/00000002/tensors.safetensors"
    tensors = load_file(path)
    former = {name.replace("discriminator.", "critic."): value for name, value in tensors.items()}
    assert former.keys() != tensors.keys()
    assert renamed_role_tensors(former, {"discriminator"}).keys() == tensors.keys()
    assert renamed_role_tensors(former, {"critic"}) == former
    save_state(tmp_path / "former/state", 2, former, load_state(tmp_path / "parted/state")[1], keep=2)
    resumed = begun(tmp_path / "former", 4)
    assert resumed.step == 2
    for _ in resumed:
        pass
    for role, net in whole.trained.items():
        ours = resumed.trained[role].state_dict()
        assert all(torch.equal(value, ours[name]) for name, value in net.state_dict().items())


@pytest.fixture(scope="module")
def model():
    return student(Cosine(), "v", Sampling("ddim", "uniform", (2,))).eval()


def test_arguments(model, tmp_path):
    image = torch.rand(2, *model.shape) * 2 - 1
    own = package.sample(model, n=3, share=(1, 2))
    torch.testing.assert_close(own, package.sample(model, n=3, shard=(1, 2)), rtol=0, atol=0)
    former = package.edit(model, image=image, strength=0.5, share=(0, 2))
    present = package.edit(model, init_image=image, strength=0.5, shard=(0, 2))
    torch.testing.assert_close(former, present, rtol=0, atol=0)
    for argument in ("image", "condition_image"):
        with pytest.raises(FastdiffError, match="takes no condition image"):
            package.sample(model, n=2, **{argument: image})
    with pytest.raises(FastdiffError, match="takes no condition image"):
        package.edit(model, image, strength=0.5, upon=image)


def test_options(fastdiff, refused, tmp_path):
    """All former options are tried; a value after = is kept."""
    assert former_names.OPTIONS.keys() == {"bench", "list", "sample"}
    digits, picture, out = "checkpoints/digits/teacher", tmp_path / "grey.png", tmp_path / "out.png"
    Image.fromarray(np.full((8, 8), 128, np.uint8)).save(picture)
    code, _, error = fastdiff(
        "sample", digits, "--n", 1, f"--image={picture}", "--strength", 0.5, "--steps", 2, "--out", out
    )
    assert (code, error) == (0, "") and out.exists()
    assert "takes no condition image" in refused("sample", digits, "--condition", picture, "--out", out)
    bad = refused("bench", digits, "--against", "nosuch:4", "--out", tmp_path)
    assert "nosuch" in bad and "No such option" not in bad
    assert renamed_options(["list", "datasets"]) == ["list", "data"]
    assert renamed_options(["bench", "a", "--against=ddim:4"]) == ["bench", "a", "--baselines=ddim:4"]
    assert renamed_options(["search", "--image"]) == ["search", "--image"] and renamed_options([]) == []
