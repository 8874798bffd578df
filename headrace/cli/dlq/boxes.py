"""Where dead letters lie: the dead-letter topic of each function, and what in it is still open."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from headrace.runtime.control import Control
    from headrace.runtime.letters import DeadLetter
    from headrace.runtime.ports import Store
    from headrace.sandbox.manifest import FunctionSpec


class Box(NamedTuple):
    """The dead-letter topic of a function, and its declaration where a target has it."""

    function: str
    topic: str
    spec: FunctionSpec | None


async def boxes_of(store: Store, app: str, declared: Collection[FunctionSpec]) -> list[Box]:
    """Those of the target, and those of the app on the log that no target has any more."""
    from headrace.runtime.plan import dead_letter_topic  # noqa: PLC0415

    boxes = {s.name: Box(s.name, topic, s) for s in declared if (topic := dead_letter_topic(app, s)) is not None}
    for topic in await store.topics():
        if topic.startswith(f"{app}.") and topic.endswith(".dlt"):
            name = topic.removeprefix(f"{app}.").removesuffix(".dlt")
            boxes.setdefault(name, Box(name, topic, None))
    return sorted(boxes.values(), key=lambda box: box.function)


async def box_of(store: Store, app: str, declared: Collection[FunctionSpec], function: str) -> Box:
    """The one of this function. Raises `SettingsError` if there is none."""
    from headrace.functions.errors import SettingsError  # noqa: PLC0415
    from headrace.functions.names import meant  # noqa: PLC0415

    boxes = {box.function: box for box in await boxes_of(store, app, declared)}
    if function in boxes:
        return boxes[function]
    raise SettingsError(
        f"the app {app!r} has no dead letters of a function {function!r}{meant(function, boxes)}; "
        f"there are those of: {', '.join(boxes) or 'none'}"
    )


async def open_letters(store: Store, box: Box, control: Control) -> list[DeadLetter]:
    """What lies in it and was not redriven yet, by partition and offset."""
    from headrace.runtime.letters import dead_letters  # noqa: PLC0415

    return [
        one
        async for one in dead_letters(store, box.topic)
        if one.function == box.function and one.letter not in control.letters
    ]
