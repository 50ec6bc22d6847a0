"""How a function that makes a call becomes a method that does it, with the same arguments, text and types."""

import functools
from collections.abc import Callable
from typing import Generic, ParamSpec, Self, TypeVar, overload

C = TypeVar("C")
P = ParamSpec("P")
T = TypeVar("T")
X = TypeVar("X")


class Method(Generic[C, P, T]):
    """As an attribute of a class of clients."""

    def __init__(self, bind: Callable[[C], Callable[P, T]], about: str | None) -> None:
        self._bind = bind
        self.__doc__ = about

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: C, owner: type) -> Callable[P, T]: ...
    def __get__(self, client: C | None, owner: type) -> "Self | Callable[P, T]":
        return self if client is None else self._bind(client)


def method(make: Callable[P, X], do: Callable[[C, X], T]) -> Method[C, P, T]:
    """`make`: arguments → a call; `do`: what a client makes of it."""

    def bind(client: C) -> Callable[P, T]:
        @functools.wraps(make)
        def bound(*args: P.args, **kwargs: P.kwargs) -> T:
            return do(client, make(*args, **kwargs))

        return bound

    return Method(bind, make.__doc__)
