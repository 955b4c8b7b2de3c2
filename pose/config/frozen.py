"""Settings objects, and how their mistakes are told: the key, what is wrong with it, the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from pose.support.errors import PoseError, nearest


class Frozen(BaseModel):
    """A settings object: immutable, unknown keys and numbers that are not finite refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


def parse(model: type[Frozen], value: Any, what: str) -> Any:
    """Build ``model`` from a mapping or JSON text; a PoseError names each wrong key."""
    try:
        if isinstance(value, str):
            return model.model_validate_json(value)
        return model.model_validate(value)
    except ValidationError as error:
        raise PoseError(f"{what}: {'; '.join(map(_explain(model), error.errors()))}") from None


MAPPING = "should be a mapping"
PLAINER = {"tuple_type": "should be a list", "dict_type": MAPPING, "model_type": MAPPING}
"""Of pydantic's messages, those that speak of Python's types."""


def unknown_key(path: str, known: Iterable[str]) -> str:
    """Says that a key is unknown, and the nearest known one, or else all that there are."""
    names = list(known)
    listed = f"; known are {', '.join(names)}" if names else ""
    return f"unknown key {path!r}{nearest(path.rpartition('.')[2], names) or listed}"


def _explain(model: type[Frozen]) -> Callable[[dict[str, Any]], str]:
    def explain(error: dict[str, Any]) -> str:
        where = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            return unknown_key(where, _fields(model, error["loc"][:-1]))
        if error["type"] == "missing":
            return f"missing key {where!r}"
        message = PLAINER.get(error["type"]) or error["msg"].removeprefix("Value error, ")
        return f"{where}: {message}, got {error['input']!r}" if where else message

    return explain


def _fields(model: type[Frozen], path: Iterable[str | int]) -> list[str]:
    """The keys of the settings object at ``path``, in which a union's member goes by its name."""
    kinds = [model]
    for name in path:
        fields = [kind.model_fields[name] for kind in kinds if name in kind.model_fields]
        inner = [type_ for field in fields for type_ in _types(field.annotation)]
        kinds = inner or [kind for kind in kinds if name in _tags(kind)]
    return list(dict.fromkeys(field for kind in kinds for field in kind.model_fields))


def _types(annotation: Any) -> list[type[Frozen]]:
    """The settings objects that an annotation allows."""
    members = get_args(annotation) or (annotation,)
    return [kind for kind in members if isinstance(kind, type) and issubclass(kind, Frozen)]


def _tags(kind: type[Frozen]) -> tuple[Any, ...]:
    """The values of ``name`` by which a union tells its members apart."""
    return get_args(kind.model_fields["name"].annotation) if "name" in kind.model_fields else ()
