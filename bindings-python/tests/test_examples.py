"""The examples in the docstrings."""

import doctest
import inspect
from collections.abc import Iterator

import pytest

import nlxtp
import nlxtp.tomato
from conftest import EXAMPLE


def documented() -> "Iterator[tuple[str, str]]":
    yield "nlxtp", nlxtp.__doc__ or ""
    yield "nlxtp.tomato", nlxtp.tomato.__doc__ or ""
    for name in nlxtp.__all__:
        thing = getattr(nlxtp, name)
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                yield f"{name}.{member}", inspect.getdoc(getattr(value, "__func__", value)) or ""
        yield name, inspect.getdoc(thing) or ""


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, text in documented() if ">>>" in text])
def test_example(name: str, text: str) -> None:
    names = {**vars(nlxtp), **vars(nlxtp.tomato), "nlxtp": nlxtp, "example_archive": EXAMPLE}
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0
