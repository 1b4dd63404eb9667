"""Former names of recipe keys, command-line options and Python names, which still work."""

import re
from collections.abc import Callable, Container, Mapping
from functools import wraps
from typing import Any, TypeVar

from .errors import FastdiffError

TRAIN_KEYS = {
    "decay": "lr_schedule",
    "clip": "max_grad_norm",
    "teacher": "teacher_dtype",
    "export": "export_dtype",
    "accumulate": "gradient_accumulation",
    "keep": "keep_last",
}
PRECISIONS = {"fp32": "no", "float32": "no", False: "no"}  # other words for no mixed precision
ROLES = {"critic": "discriminator"}
ROLE_KEYS = {"clip": "max_grad_norm"}
METHOD_KEYS = {"critic_turns": "discriminator_turns", "critic_weight": "discriminator_weight"}
METHOD_HOOKS = {
    "teaches": "needs_teacher",
    "paired": "needs_pairs",
    "extras": "trainable_networks",
    "frozen": "frozen_networks",
    "averages": "target_emas",
    "ready": "validate",
}
ARGUMENTS = {
    "sample": {"image": "condition_image", "share": "shard"},
    "edit": {"image": "init_image", "upon": "condition_image", "share": "shard"},
}
OPTIONS = {
    "bench": {"--against": "--baselines"},
    "list": {"datasets": "data"},
    "sample": {"--condition": "--condition-image", "--image": "--init-image"},
}

Result = TypeVar("Result")


def renamed(values: Mapping[str, Any], table: Mapping[str, str], path: str) -> dict[str, Any]:
    """Return a mapping with its former keys replaced by their present names, in the same order.

    Args:
        values: the mapping.
        table: present names by former names.
        path: path of the mapping, for error messages.

    Raises:
        FastdiffError: if both the former and the present name of a key are given.
    """
    both = [key for key in values if key in table and table[key] in values]
    if both:
        raise FastdiffError(
            f"{path}.{both[0]} is the former name of {path}.{table[both[0]]}: give one of the two"
        )
    return {table.get(key, key): value for key, value in values.items()}


def renamed_arguments(function: Callable[..., Result]) -> Callable[..., Result]:
    """Decorate a function so that it also takes the former names of its arguments."""
    table = ARGUMENTS[function.__name__]

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Result:
        return function(*args, **renamed(kwargs, table, function.__name__))

    return wrapper


def renamed_hooks(method: type) -> None:
    """Give each hook that a method class defines both of its names, so that `super()` works with either."""
    for former, present in METHOD_HOOKS.items():
        own = vars(method)
        if former in own and present not in own:
            setattr(method, present, own[former])
        elif present in own and former not in own:
            setattr(method, former, own[present])


def renamed_role_tensors(tensors: Mapping[str, Any], roles: Container[str]) -> dict[str, Any]:
    """Return a saved state's tensors with the former names of a training's roles replaced.

    Args:
        tensors: tensors by name, `role.name` and `optimizer.role.name`.
        roles: roles of the training; a former name that is itself one of them is kept.
    """
    present = {}
    for name, value in tensors.items():
        start, role, rest = re.fullmatch(r"(optimizer\.)?([^.]*)(.*)", name, re.DOTALL).groups("")
        if role not in roles:
            role = ROLES.get(role, role)
        present[start + role + rest] = value
    return present


def renamed_options(arguments: list[str]) -> list[str]:
    """Return a command line with the former names of options replaced by their present names."""
    command = next((argument for argument in arguments if argument in OPTIONS), "")
    table = OPTIONS.get(command, {})
    present = []
    for argument in arguments:
        name, sign, value = argument.partition("=")
        present.append(table.get(name, name) + sign + value)
    return present


def renamed_recipe(source: Any) -> Any:
    """Return a recipe's plain data with the former names of its keys replaced."""
    if not isinstance(source, dict):
        return source
    source = renamed_train(source, "train")
    if isinstance(source.get("stages"), dict):
        stages = {name: renamed_stage(stage, f"stages.{name}") for name, stage in source["stages"].items()}
        source = source | {"stages": stages}
    return source


def renamed_stage(stage: Any, path: str) -> Any:
    """Return a stage's plain data with the former names of its keys replaced."""
    if not isinstance(stage, dict):
        return stage
    stage = renamed_train(stage, f"{path}.train")
    if isinstance(stage.get("method"), dict):
        stage = stage | {"method": renamed(stage["method"], METHOD_KEYS, f"{path}.method")}
    return stage


def renamed_train(section: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a section with the former names in its training settings replaced; it may have no settings."""
    if not isinstance(section.get("train"), dict):
        return section
    return section | {"train": renamed_settings(section["train"], path)}


def renamed_settings(train: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return training settings with the former names of their keys and roles replaced."""
    train = renamed(train, TRAIN_KEYS, path)
    precision = train.get("precision")
    if isinstance(precision, str | bool):
        train["precision"] = PRECISIONS.get(precision, precision)
    if not isinstance(train.get("roles"), dict):
        return train
    roles = renamed(train["roles"], ROLES, f"{path}.roles")
    roles = {
        role: renamed(own, ROLE_KEYS, f"{path}.roles.{role}") if isinstance(own, dict) else own
        for role, own in roles.items()
    }
    return train | {"roles": roles}
