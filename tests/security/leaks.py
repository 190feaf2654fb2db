"""Canary secrets and numbers through every way to fail that we know, looked for in every view: none must be seen.

``python -m tests.security.leaks`` fails on each path of ``leak_paths.py`` with a made-up token, password, two numbers
and a name, and looks for them in what ``leak_views.py`` knows: text, ``repr`` and traceback (with the values of all
local variables of our frames and those of others) of each error and of all that hangs on it, copies, pickles, every
log record at DEBUG of every logger, asyncio's own in debug mode, output, warnings, reports, files and metrics. It
prints a table and ends with 1 if a canary was seen.
"""

import argparse
import asyncio
import inspect
import logging
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from leak_paths import PATHS, Place
from leak_views import VIEWS, Observed, watched


def observe(name, folder):
    """Fail on one path and return what was looked at."""
    fail, seen = PATHS[name], Observed(name)
    place = Place(folder, seen)

    async def whole():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.0  # every callback is "slow", and logged with its arguments
        loop.set_exception_handler(lambda _, context: _unhandled(seen, context))
        async with asyncio.timeout(20):
            await fail(place)

    asyncio_log = logging.getLogger("asyncio")
    level = asyncio_log.level
    asyncio_log.setLevel(logging.DEBUG)
    try:
        with watched(seen):
            if inspect.iscoroutinefunction(fail):
                asyncio.run(whole(), debug=True)
            else:
                fail(place)
    finally:
        asyncio_log.setLevel(level)
    return seen


def _unhandled(seen, context):
    seen.look("debug logs", repr(context))
    if isinstance(context.get("exception"), Exception):
        seen.error(context["exception"])


def main():
    """Print the table; 1 if something was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="paths whose name has this in it")
    chosen = [name for name in PATHS if parser.parse_args().only in name]
    began, leaks, empty = time.monotonic(), [], []
    totals = dict.fromkeys(VIEWS, 0)
    width = max(map(len, chosen))
    print(" " * width, *(f"{view.split()[0]:>9}" for view in VIEWS))
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            seen = observe(name, Path(folder))
        print(f"{name:<{width}}", *(f"{seen.texts[view]:>9}" for view in VIEWS), f"{len(seen.leaks)} leaks", flush=True)
        leaks += seen.leaks
        if not seen.texts:
            empty.append(name)
        for view in VIEWS:
            totals[view] += seen.texts[view]
    print(f"{'texts searched':<{width}}", *(f"{totals[view]:>9}" for view in VIEWS))
    for leak in leaks[:200]:
        print(leak)
    used = sum(1 for view in VIEWS if totals[view])
    seconds = time.monotonic() - began
    print(f"{len(chosen)} paths x {used} views, {sum(totals.values())} texts: {len(leaks)} leaks, {seconds:.0f} s")
    return 1 if leaks or empty else 0


if __name__ == "__main__":
    sys.exit(main())
