"""What was looked up recently: a mapping of bounded size that forgets what was not asked for longest."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most `size` values. Only for what cannot become wrong, or is checked again where it matters."""

    def __init__(self, size: int) -> None:
        """Begin with nothing."""
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return a value, if it is still here."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, at the expense of another if need be."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)

    def drop(self, unwanted: Callable[[V], bool]) -> None:
        """Forget the values of this kind."""
        for key in [key for key, value in self._values.items() if unwanted(value)]:
            del self._values[key]
