"""The checks around basin are on, and neither looser nor stricter than mypy."""

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from basin import stack
from basin.data.archives import read_source
from basin.ensemble import Ensemble
from basin.spec import Bounds


def test_a_wrong_shape_is_refused() -> None:
    thetas = {"weight": torch.zeros(3, 2)}
    with pytest.raises(TypeCheckError, match="weights"):
        stack.mix(thetas, torch.ones(3))


def test_a_wrong_shape_in_a_dataclass_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="coords"):
        Ensemble({"weight": torch.zeros(3, 2)}, torch.ones(3))


def test_an_integer_is_a_number() -> None:
    assert Bounds(0, 1).high == 1


def test_a_wrong_type_is_refused_where_no_shape_is_annotated() -> None:
    with pytest.raises(BeartypeCallHintViolation, match="source"):
        read_source("not a path", str.isalpha)  # type: ignore[arg-type]
