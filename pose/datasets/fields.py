"""What a record of each file format must hold: the types, counts and ranges of its fields.

Every reader of a format checks its records by the one table here, so that verify, training,
inference and evaluation refuse the same files in the same words. Fields that nobody reads are free.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, ValidationInfo
from typing_extensions import TypedDict

from pose.datasets.keypoints import KeypointSet
from pose.support.errors import PoseError

PERSON = 1  # COCO's category
LIMIT = 1e12
"""No coordinate, area or score is beyond it; squares of such numbers still fit into float32."""
KINDS = {str: "text", bool: "true or false", type(None): "null", dict: "object", list: "list"}


class Context(NamedTuple):
    """What records are checked against: the ids that an ``image_id`` may have, and the joints."""

    images: Collection[int]
    keypoints: KeypointSet | None


def _known_image(value: int, info: ValidationInfo) -> int:
    if value not in info.context.images:
        raise ValueError(f"image {value} is not in the annotations")
    return value


def _keypoints(numbers: list[float], info: ValidationInfo) -> list[float]:
    if len(numbers) != (expected := 3 * len(info.context.keypoints)):
        raise ValueError(f"{len(numbers)} numbers, not {expected}")
    return numbers


def _labelled_keypoints(numbers: list[float], info: ValidationInfo) -> list[float]:
    flags = _keypoints(numbers, info)[2::3]
    if wrong := [flag for flag in flags if flag not in (0, 1, 2)]:
        name = info.context.keypoints.names[flags.index(wrong[0])]
        raise ValueError(f"the flag of {name} is {wrong[0]:g}, not 0, 1 or 2")
    return numbers


def _box(numbers: list[float]) -> list[float]:
    if len(numbers) != 4:
        raise ValueError(f"{len(numbers)} numbers, not x, y, width and height")
    if min(numbers[2:]) < 0:
        raise ValueError(f"{numbers} has a negative side")
    return numbers


def _box_or_none(numbers: list[float]) -> list[float]:
    return _box(numbers) if numbers else numbers


def _joints(count: int, info: ValidationInfo) -> int:
    if count > (joints := len(info.context.keypoints)):
        raise ValueError(f"should be less than or equal to {joints}, got {count} (number)")
    return count


def _whole(value: float) -> float:
    if value % 1:
        raise ValueError(f"{value} is not a whole number")
    return value


Id = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
KnownImage = Annotated[Id, AfterValidator(_known_image)]
Number = Annotated[float, Field(strict=True, ge=-LIMIT, le=LIMIT, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Pixels = Annotated[Positive, Field(le=1e6), AfterValidator(_whole)]
Name = Annotated[str, Field(strict=True, max_length=4096, pattern=r"^[^\x00]+$")]
Box = Annotated[list[Number], AfterValidator(_box)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2)]
Flag = Literal[0, 1]


class Category(TypedDict):
    """A category of a COCO file."""

    id: Id


class ScoredImage(TypedDict):
    """What the evaluators need of an image of a COCO file."""

    id: Id


class Image(ScoredImage):
    """An image of a COCO file that is to be opened."""

    file_name: Name
    width: Pixels
    height: Pixels


class Person(TypedDict):
    """A person of a person_keypoints_*.json, a crowd or one without labelled joints included."""

    id: Id
    image_id: KnownImage
    category_id: Literal[PERSON]
    iscrowd: Flag
    area: Annotated[Number, Field(ge=0)]
    bbox: Box
    keypoints: Annotated[list[Number], AfterValidator(_labelled_keypoints)]


class ScoredPerson(Person):
    """The same where it is scored against."""

    num_keypoints: Annotated[int, Field(strict=True, ge=0), AfterValidator(_joints)]


class Detection(TypedDict):
    """A box of HRNet's detection files."""

    image_id: KnownImage
    category_id: Literal[PERSON]
    bbox: Box
    score: Number


class Result(TypedDict):
    """A person in COCO's results format."""

    image_id: KnownImage
    category_id: Literal[PERSON]
    keypoints: Annotated[list[Number], AfterValidator(_keypoints)]
    score: Number
    bbox: NotRequired[Annotated[list[Number], AfterValidator(_box_or_none)]]


def checked(
    path: Path,
    records: Any,
    form: type,
    images: Collection[int] = (),
    where: str = "",
    persons_only: bool = False,
    keypoints: KeypointSet | None = None,
) -> list[dict[str, Any]]:
    """The list ``records``, each as ``form`` says; or of them those of category 1 alone.

    ``images`` are the ids that an ``image_id`` may have, ``keypoints`` the joints of a person;
    ``where`` follows a record's number.
    PoseError names file, record, field and value of the first record that is wrong.
    """
    if not isinstance(records, list):
        kind = KINDS.get(type(records), "number")
        raise PoseError(f"{path}: not a list of records{where} but {kind}; is it the right file?")
    adapter, context, kept = TypeAdapter(form), Context(images, keypoints), []
    for number, record in enumerate(records):
        if persons_only and other_category(record):
            continue
        try:
            adapter.validate_python(record, context=context)
        except ValidationError as error:
            line = f"{path}: record {number}{where}{_id(record)}: {_explain(error)}"
            raise PoseError(line) from None
        kept.append(record)
    return kept


def other_category(record: Any) -> bool:
    """Whether a record is certainly of another category; it may then lack what a person has."""
    category = record.get("category_id") if isinstance(record, dict) else None
    return type(category) is int and category != PERSON


def _id(record: Any) -> str:
    known = isinstance(record, dict) and "id" in record
    return f" (id {reprlib.repr(record['id'])})" if known else ""


def _explain(error: ValidationError) -> str:
    """The first fault: its field, what it should be, and what it is."""
    first = error.errors(include_url=False)[0]
    name, *places = first["loc"] or ("",)
    field = f"{name}{''.join(f'[{place}]' for place in places)}: " if name else ""
    if first["type"] == "missing":
        return f"no {name!r}"
    if first["type"] == "value_error":
        return f"{field}{first['ctx']['error']}"
    value = first["input"]
    kind = KINDS.get(type(value), "number")
    return f"{field}{first['msg'].removeprefix('Input ')}, got {reprlib.repr(value)} ({kind})"
