import asyncio
import sys

from ucontact_async import FileTokenStore, UContact

WORKER = """
import asyncio, sys
from datetime import datetime
from ucontact_async import FileTokenStore, Limiter, ScheduledCall, UContact

async def main(url, path, start):
    store = FileTokenStore(path)
    async with UContact(
        url, user="api", password="secret", timezone="UTC", token_store=store, limiter=Limiter(50)
    ) as uc:
        await uc.login()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        calls = [
            ScheduledCall(campaign="Ventas->", destination=f"09{start + n:07d}", calldate=datetime(2099, 5, 5))
            for n in range(50)
        ]
        await asyncio.gather(*(uc.send(call) for call in calls))
        print("done", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def test_four_processes_meet_a_dead_token_and_log_in_once(emulator, tmp_path):
    """Four processes with 50 requests each that all meet 401 share one login, and the last one ends the session."""
    path = tmp_path / "token"
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, emulator.url, str(path), str(number * 1000), **pipes
        )
        for number in range(4)
    ]

    async def everyone(word):
        for worker in workers:
            assert (await worker.stdout.readline()).decode().strip() == word

    def tell():
        for worker in workers:
            worker.stdin.write(b"\n")

    await everyone("ready")
    assert emulator.ledger.logins == 1
    emulator.state.sessions.end_all()
    tell()
    await everyone("done")
    assert emulator.ledger.logins == 2
    assert len(emulator.ledger) == 200
    assert len(emulator.state.sessions.live) == 1
    tell()
    assert [await worker.wait() for worker in workers] == [0, 0, 0, 0]
    assert len(emulator.state.sessions.live) == 0


async def test_two_clients_of_one_process_share_a_login(emulator, tmp_path):
    """Two clients with one token file log in once, and the session lives as long as either of them."""

    def client():
        return UContact(
            emulator.url, user="api", password="secret", timezone="UTC", token_store=FileTokenStore(tmp_path / "token")
        )

    async with client() as one:
        async with client() as two:
            await asyncio.gather(one.login(), two.login())
        assert len(emulator.state.sessions.live) == 1
    assert (emulator.ledger.logins, len(emulator.state.sessions.live)) == (1, 0)
