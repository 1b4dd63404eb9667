"""A holder for a module that another module uses but does not own."""

from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Unregistered(Generic[T]):
    """A holder of a value that `nn.Module` does not register and `deepcopy` does not copy.

    A model holds its autoencoder, its text encoder and the base of a cascade in this way: they are not
    trained, averaged, moved or saved with the model, and copies of the model share them.
    """

    def __init__(self, value: T) -> None:
        self.value = value

    def __deepcopy__(self, memo: Any) -> "Unregistered[T]":
        return self
