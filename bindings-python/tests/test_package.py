"""The package as it is installed."""

from importlib import metadata

import nlxtp


def test_version_is_the_packages() -> None:
    assert nlxtp.__version__ == metadata.version("nlxtp")
