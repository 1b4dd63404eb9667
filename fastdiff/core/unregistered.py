"""A holder for a module that belongs to another but is not a part of it."""

from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Unregistered(Generic[T]):
    """Holds a value that `nn.Module` does not register and `deepcopy` does not copy.

    A model holds its autoencoder, its text encoder and a cascade's base in this way: they are not trained,
    averaged, moved or saved with it, and its copies share them.
    """

    def __init__(self, value: T) -> None:
        self.value = value

    def __deepcopy__(self, memo: Any) -> "Unregistered[T]":
        return self
