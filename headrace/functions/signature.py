"""A handler's signature, read when its target is loaded: what it takes, and where what it returns goes."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from headrace.functions.context import Context
from headrace.functions.declare import Declaration
from headrace.functions.emits import Routes, routes_of
from headrace.functions.errors import DeclarationError
from headrace.functions.payload import BadAnnotation, Payload, members_of, payload_of

_PASSES = {Any, object, inspect.Signature.empty, None, type(None), typing.NoReturn, typing.Never}

_BATCH_MISSING = "a handler of list[…] takes batches; say how large: batch=Batch(size=100, wait=0.5)"
_LIST_MISSING = "batch= hands many events over at once, so the payload is a list of them: {}: list[…]"


@dataclass(frozen=True)
class Handler:
    """A declaration with its signature understood: ready to be invoked."""

    declaration: Declaration
    payload: Payload
    routes: Routes
    takes_context: bool
    is_async: bool

    @property
    def call(self) -> Callable[..., Any]:
        """The user's function."""
        return self.declaration.handler


def read_signature(declaration: Declaration) -> Handler:
    """Understand a declared handler. Raises `DeclarationError` with file, line and remedy."""
    handler = declaration.handler
    try:
        annotations = typing.get_type_hints(handler, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise _wrong(
            declaration,
            f"an annotation of {handler.__name__} cannot be resolved: {error}; what it names must be there when the "
            "module runs, so import it outside of 'if TYPE_CHECKING:'",
        ) from error
    positional = _positional(declaration)
    if positional[0] not in annotations:
        raise _wrong(
            declaration, f"the payload parameter {positional[0]!r} needs a type, for example {positional[0]}: Order"
        )
    try:
        payload = payload_of(annotations[positional[0]], reject_unmatched=declaration.unmatched == "reject")
        routes = routes_of(declaration.emits)
    except (BadAnnotation, ValueError) as error:
        raise _wrong(declaration, str(error)) from error
    if payload.batch != (declaration.batch is not None):
        raise _wrong(declaration, _BATCH_MISSING if payload.batch else _LIST_MISSING.format(positional[0]))
    returned = annotations.get("return", inspect.Signature.empty)
    _check_returns(declaration, returned, routes)
    if payload.batch and (single := next(filter(_is_single, members_of(returned)), None)):
        name = handler.__name__
        raise _wrong(
            declaration,
            f"{name} takes a batch and returns {single.__name__}; return a list with an entry for each event, None "
            f"where it emits nothing: -> list[{single.__name__} | None]",
        )
    return Handler(
        declaration=declaration,
        payload=payload,
        routes=routes,
        takes_context=len(positional) == 2,
        is_async=inspect.iscoroutinefunction(handler),
    )


def _positional(declaration: Declaration) -> list[str]:
    parameters = inspect.signature(declaration.handler).parameters.values()
    names = [p.name for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    name = declaration.handler.__name__
    if not names:
        raise _wrong(
            declaration, f"{name} has no payload parameter; it takes the event's data first: def {name}(order: Order)"
        )
    if extra := [parameter for parameter in required if parameter not in names[:2]]:
        raise _wrong(
            declaration, f"{name} takes the data and the context, no more; give {extra[0]!r} a default or remove it"
        )
    return names[:2] if len(names) > 1 and _is_context(declaration, names[1], required) else names[:1]


def _is_context(declaration: Declaration, name: str, required: list[str]) -> bool:
    annotation = typing.get_type_hints(declaration.handler).get(name)
    is_context = any((get_origin(member) or member) is Context for member in members_of(annotation))
    if name in required and annotation is not None and not is_context:
        raise _wrong(declaration, f"the second parameter {name!r} is the Context; write {name}: Context")
    return is_context or name in required


def _check_returns(declaration: Declaration, annotation: Any, routes: Routes) -> None:
    returned = _leaves(annotation)
    if isinstance(declaration.emits, str) and len(returned) > 1:
        names = ", ".join(leaf.__name__ for leaf in returned)
        raise _wrong(
            declaration,
            f"emits={declaration.emits!r} takes one type, but {names} are returned; "
            f"say which goes where: emits={{{declaration.emits!r}: [{names}]}}",
        )
    for leaf in returned:
        if routes.fallback is None and not any(issubclass(leaf, cls) for cls in routes.by_type):
            raise _wrong(
                declaration,
                f"{declaration.handler.__name__} returns {leaf.__name__}, but no topic takes it; "
                f'add emits={{"<topic>": {leaf.__name__}}}',
            )


def _is_single(member: Any) -> bool:
    return member not in _PASSES and isinstance(member, type) and get_origin(member) is None and member is not list


def _leaves(annotation: Any) -> list[type]:
    leaves: list[type] = []
    for member in members_of(annotation):
        origin = get_origin(member) or member
        if origin is list and get_args(member):
            leaves += _leaves(get_args(member)[0])
        elif member not in _PASSES and isinstance(origin, type):
            leaves.append(origin)
    return leaves


def check_names(declarations: Mapping[str, list[Declaration]]) -> None:
    """Refuse two declarations of one name. Raises `DeclarationError` naming both places."""
    for name, same in declarations.items():
        if len(same) > 1:
            places = " and ".join(sorted(declaration.place for declaration in same))
            raise DeclarationError(f'{places}: two functions are named {name!r}; rename one, or give it name="…"')


def _wrong(declaration: Declaration, problem: str) -> DeclarationError:
    return DeclarationError(f"{declaration.place}: {problem}")
