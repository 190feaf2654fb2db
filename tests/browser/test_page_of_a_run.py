"""The page about a run, opened by double click."""

import subprocess
import sys

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: python -m pip install matplotlib")


@pytest.fixture
async def shown(emulator, tmp_path, page):
    """The page of a run of 300 rows of which some do not succeed, in a browser."""
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "match": {"destination": "0900000*7"}, "fault": "body"}]})
    rows = "".join(f"0900{n:05d};2099-05-05 10:00\n" for n in range(300))
    (tmp_path / "c.csv").write_text("destination;calldate\n" + rows, encoding="utf-8")
    import anyio

    command = [sys.executable, "-m", "ucontact_async", "schedule", "c.csv", "--campaign", "Ventas->"]
    pace = ["--max-per-second", "400", "--html", "run.html"]
    env = {"UCONTACT_URL": emulator.url, "UCONTACT_USER": "api", "UCONTACT_PASSWORD": "secret"}
    done = await anyio.run_process(
        command + pace,
        cwd=tmp_path,
        env=env | {"UCONTACT_TIMEZONE": "America/Montevideo"},
        check=False,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 3, done.stdout
    await page.goto((tmp_path / "run.html").as_uri())
    return page


async def test_a_page_of_a_run(shown):
    """Three charts, the counts and the unknown rows are there; it asks nobody for anything and complains of nothing."""
    assert await shown.title() == "300 rows, some rows are not done"
    assert await shown.locator("figure svg").count() == 3
    assert [await shown.locator(".counts b").nth(n).inner_text() for n in range(4)] == ["290", "0", "10", "0"]
    assert await shown.get_by_role("cell", name="9", exact=True).first.is_visible()
    for width in (400, 1200):
        await shown.set_viewport_size({"width": width, "height": 800})
        assert await shown.evaluate("document.documentElement.scrollWidth") <= width
