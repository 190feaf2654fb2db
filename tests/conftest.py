"""What every test shares: the event loop, how many examples are tried, and the watch for tasks left behind."""

import asyncio
import inspect

import pytest
from hypothesis import Phase, settings

# The library's own plugin, as its users load it.
pytest_plugins = ["ucontact_async.testing"]

settings.register_profile("suite", deadline=None, max_examples=50, print_blob=True)
settings.register_profile("thorough", parent=settings.get_profile("suite"), max_examples=2000)
# Mutants: the same examples for each of them, and no time spent on making a failure small.
settings.register_profile(
    "mutants",
    parent=settings.get_profile("suite"),
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def anyio_backend():
    """The loop that the library is made for."""
    return "asyncio"


@pytest.fixture
def emulator(ucontact_server):
    """The plugin's server, by the name that it has in here."""
    return ucontact_server


@pytest.fixture(autouse=True)
def _watch_tasks(request):
    """Watch every asynchronous test; the others need no loop."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("no_task_left")


@pytest.fixture
async def no_task_left():
    """After the test, and after its fixtures: no task runs that did not run before."""
    before = _tasks()
    yield
    for _ in range(10):  # what was cancelled, or has its result, needs a few turns to end
        if not _tasks() - before:
            return
        await asyncio.sleep(0)
    await asyncio.sleep(0.2)
    left = _tasks() - before
    assert not left, f"the test left tasks behind: {left}"


def _tasks():
    """Return the tasks of this loop but for the one by which anyio's plugin runs each fixture and test."""
    return {task for task in asyncio.all_tasks() if "_call_in_runner_task" not in task.get_coro().__qualname__}
