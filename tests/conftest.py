"""What every test shares: the event loop, how many examples are tried, and the guards."""

import pytest
from hypothesis import Phase, settings

# The library's own plugin, as its users load it, and what every test is watched for.
pytest_plugins = ["ucontact_async.testing", "guards"]

# The suite: the same examples each time, so that what passed here passes there. Thorough: new ones, and more of them.
settings.register_profile("suite", deadline=None, max_examples=50, print_blob=True, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2000, print_blob=True)
# Mutants: no time spent on making a failure small.
settings.register_profile("mutants", parent=settings.get_profile("suite"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("suite")


@pytest.fixture(scope="session")
def anyio_backend():
    """The loop that the library is made for."""
    return "asyncio"


@pytest.fixture
def emulator(ucontact_server):
    """The plugin's server, by the name that it has in here."""
    return ucontact_server
