"""Settings of the whole suite: Hypothesis without chance, frameworks as a new process has them."""

import pytest
from hypothesis import settings

settings.register_profile("house", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("house")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `published` run only when the user selects them with `-m published`."""
    if "published" in (config.getoption("-m") or ""):
        return
    skip = pytest.mark.skip(reason="hours of training: select it with -m published")
    for item in items:
        if "published" in item.keywords:
            item.add_marker(skip)
