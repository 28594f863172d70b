"""A process that ends just after a step has been done, the first two times that it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """The end of the process: nothing of the platform catches it."""


def one_step(whole: Callable[..., Any], name: str, steps: list[str]) -> Callable[..., Any]:
    """The function, after which the process ends, the first two times; each call is noted in `steps`."""

    def call(*arguments: Any, **options: Any) -> Any:
        answer = whole(*arguments, **options)
        steps.append(name)
        if steps.count(name) <= 2:
            raise Killed
        return answer

    return call
