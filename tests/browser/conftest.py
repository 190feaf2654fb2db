"""A real Chromium, headless; without one, or without playwright, these tests are skipped."""

import os
import shutil
from urllib.parse import urlsplit

import pytest

# The sandbox does not work for root; the rest keeps the browser from calling home.
SWITCHES = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def chromium():
    """Return the path of Debian's Chromium, or skip."""
    pytest.importorskip("playwright", reason="playwright is not installed: python -m pip install playwright")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    return path


@pytest.fixture(scope="module")
async def browser(chromium):
    """Yield a browser that all tests of a module share."""
    from playwright.async_api import async_playwright

    sandbox = [] if not hasattr(os, "geteuid") or os.geteuid() else ["--no-sandbox"]
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium, args=[*SWITCHES, *sandbox])
        yield running
        await running.close()


@pytest.fixture
async def page(browser):
    """Yield a page of its own, which complains of nothing and asks no other host.

    Ask for it after the server that it shows, so that it is closed first.
    """
    context = await browser.new_context()
    page = await context.new_page()
    page.complaints, hosts = [], set()
    page.on("console", lambda message: page.complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    yield page
    await context.close()
    assert page.complaints == []
    assert hosts <= {"127.0.0.1", None}
