"""The error classes are the wire's error codes: names, statuses and the tree in the docstring agree."""

import re

import pytest

from channels import errors
from channels.errors import Limit, ServiceError


def test_the_docstring_lists_exactly_the_classes_with_their_status() -> None:
    listed = dict(re.findall(r"[├└]── (\w+) +(\d{3}) ", errors.__doc__ or ""))
    assert listed == {error.__name__: str(error.status) for error in ServiceError.__subclasses__()}


@pytest.mark.parametrize("error", ServiceError.__subclasses__(), ids=lambda error: error.__name__)
def test_the_code_is_the_class_name(error: type[ServiceError]) -> None:
    limit = Limit("viewers_per_channel", 10, 1.5)
    made = error("why", limit)
    assert (made.code, made.message, str(made), made.limit) == (error.__name__, "why", "why", limit)
    assert error("why").limit is None
    assert 400 <= error.status < 600
    assert re.fullmatch(r"[A-Z][A-Za-z]+Exception", made.code)
