"""S7 and S8: recordings come from the configured hosts only, and files stay in their folder, over nothing."""

import contextlib
import os
import string
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "emulated"))

from scripted_server import Scripted

from ucontact_async import InvalidRequest, Recording, Reply, Safety, SettingsError, UContact, UContactError
from ucontact_async.recordings.folder import Arrival, Folder
from ucontact_async.recordings.places import Places

SOUND = b"RIFF" * 64
WHEN = datetime(2027, 5, 5, 10)
# Ways out of a folder or a host, as others have tried them; each is put where a guid, a name or an address belongs.
STEPS = [
    "..",
    ".",
    "../..",
    "../../etc/passwd",
    "..%2f..",
    "%2e%2e/",
    "..\\..",
    "....//",
    "/etc/passwd",
    "//evil",
    "~root",
]
HOSTS = [
    "http://evil/x",
    "https://evil",
    "//evil/x",
    "\\\\evil\\x",
    "evil:80",
    "@evil",
    "user@evil",
    "#@evil",
    "?@evil",
]
DEVICES = ["CON", "NUL", "aux", "COM1", "LPT9.mp3", "con.txt", "C:\\x", "C:x", "x:stream", "x::$DATA"]
SIGNS = [
    "\u202e3pm.exe",
    "\u2066x",
    "\ufeffx",
    "\u200bx",
    "\u2028",
    "a\x00b",
    "a\nb",
    "a\r\nb",
    "a\tb",
    "\x1b[2J",
    "é",
    "\uff41",
]
SHELL = ["$(id)", "`id`", "; rm -rf /", "| id", "&& id", "> x", "'", '"', "*", "?", "[a]", "{a,b}", "!", "%s%n", "{0}"]
LONG = [
    "",
    " ",
    "a",
    "a" * 7,
    "a" * 65,
    "a" * 300,
    "a" * 70_000,
    "-" * 65,
    "a b" * 10,
    " abcdefgh",
    "abcdefgh ",
    "abcdefgh\n",
]
HOSTILE = [*STEPS, *HOSTS, *DEVICES, *SIGNS, *SHELL, *LONG]
HOSTILE += [f"{text}{tail}" for text in (*STEPS, *HOSTS, *SIGNS) for tail in ("/a1b2c3d4", ".mp3")]
HOSTILE += [f"a1b2c3d4{text}" for text in (*STEPS, *HOSTS, *SIGNS, *SHELL)]
HOSTILE += [f"a1b2c3d4/{text}" for text in (*STEPS, *HOSTS)]


def sound(connection, number, request):
    head = f"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: {len(SOUND)}\r\n\r\n"
    connection.sendall(head.encode() + (b"" if request.startswith(b"HEAD") else SOUND))


@pytest.fixture(scope="module")
def server():
    with Scripted(sound) as started:
        yield started


def client(url, **options):
    return UContact(url, token="t", timezone="UTC", **options)


def test_the_names_are_many():
    """At least two hundred, each of its own."""
    assert len(HOSTILE) == len(set(HOSTILE)) >= 200


async def test_hostile_guids_ask_nobody_and_write_nothing(server, tmp_path):
    """Every guid that is none is refused by name before a request is sent or a folder is made."""
    async with client(server.url) as uc:
        for guid in HOSTILE:
            for ask in (
                lambda guid=guid: uc.recordings.download(Recording(guid=guid, calldate=WHEN), tmp_path / "sound"),
                lambda guid=guid: uc.recordings.locate(Recording(guid=guid, calldate=WHEN)),
                lambda guid=guid: uc.recordings.convert(guid=guid, folder="20270505"),
            ):
                with pytest.raises(InvalidRequest):
                    await ask()
    assert server.requests == []
    assert [*tmp_path.rglob("*.mp3")] == []


@given(st.text())
def test_any_guid_stays_on_its_host(guid):
    """Whatever is said for a guid, it is refused or every place of it is on a configured host, below its folder."""
    places = Places(["https://records.example", "https://backup.example:8443"])
    try:
        found = list(places.of(Recording(guid=guid, calldate=WHEN), ("mp3", "gsm")))
    except InvalidRequest:
        sound = set(guid) <= set(string.ascii_letters + string.digits + "-")
        assert not (sound and 8 <= len(guid) <= 64)
        return
    for place in found:
        parts = urlsplit(place.url)
        assert f"{parts.scheme}://{parts.netloc}" in ("https://records.example", "https://backup.example:8443")
        assert parts.path.removeprefix("/records/").removeprefix("20270505/").rpartition(".")[0] == guid
        assert (parts.query, parts.fragment) == ("", "")


@pytest.mark.parametrize("name", ["records", "backup_records"])
def test_hostile_hosts(name):
    """What is no plain address of a server is refused as a host of recordings; what passes has nothing in it."""
    for text in [
        *HOSTILE,
        "http://a@evil",
        "http://records/../x",
        "ftp://records",
        "http://records?x",
        "http://re\ncords",
    ]:
        try:
            uc = client("https://acme.example", **{name: text})
        except (SettingsError, UserWarning):
            continue
        origin = getattr(uc.settings, name)
        parts = urlsplit(origin)
        assert (parts.path, parts.query, parts.fragment, parts.username) == ("", "", "", None)
        assert parts.hostname in ("evil", "evil.mp3")


@pytest.mark.parametrize("path", ["//evil.example/x", "//evil.example", "///x"])
async def test_a_path_that_names_another_host(server, path):
    """``uc.request`` refuses a path by which the token would go to another server."""
    async with client(server.url) as uc:
        with pytest.raises(InvalidRequest, match="//"):
            await uc.request(path, {}, reply=Reply.TEXT, safety=Safety.READ)


async def test_paths_stay_on_their_server(server):
    """Whatever else is said for a path, the request reaches the configured server or none."""
    before = len(server.requests)
    async with client(server.url) as uc:
        for path in HOSTILE:
            if path.startswith("//"):
                continue
            with contextlib.suppress(UContactError):
                await uc.with_options(timeout=5).request(path, {}, reply=Reply.TEXT, safety=Safety.ONCE)
    host = server.url.partition("//")[2].encode()
    heads = [request.partition(b"\r\n\r\n")[0].split(b"\r\n") for request in server.requests[before:]]
    assert heads
    for head in heads:
        assert [line for line in head if line.lower().startswith(b"host:")] == [b"Host: " + host]
        assert len([line for line in head if line.lower().startswith(b"authorization:")]) == 1


async def test_a_token_does_not_go_to_hosts_of_recordings(server, tmp_path):
    """It is sent there only where that is asked for."""
    before = len(server.requests)
    async with client("http://127.0.0.1:9", records=server.url) as uc:
        await uc.recordings.download(Recording(guid="a1b2c3d4", calldate=WHEN), tmp_path)
        await uc.recordings.download(Recording(guid="a1b2c3d5", calldate=WHEN), tmp_path, send_token=True)
    sent = [b"Authorization" in request for request in server.requests[before:]]
    assert sent == [False, True]


def test_hostile_names_of_files(tmp_path):
    """A name that is not one name in the folder is refused; no name leaves it or is written over."""
    inside = tmp_path / "inside"
    folder = Folder(inside)
    folder.open()
    (tmp_path / "outside").write_text("kept")
    landed, refused = set(), set()
    try:
        for name in [*HOSTILE, "../outside"]:
            arrival = None
            try:
                arrival = Arrival(folder, name)
                arrival.open()
                arrival.write(b"x")
                arrival.keep()
                landed.add(name)
            except (ValueError, OSError):
                refused.add(name)
            finally:
                if arrival is not None:
                    arrival.discard()
    finally:
        folder.close()
    assert {path.name for path in inside.iterdir()} == landed
    plain = {name for name in refused if "/" not in name and "\0" not in name and len(name.encode()) < 200}
    assert plain == {"", ".", ".."} & set(HOSTILE)
    assert {path.name for path in tmp_path.iterdir()} == {"inside", "outside"}
    assert (tmp_path / "outside").read_text() == "kept"


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX")
@pytest.mark.parametrize("what", ["link to a file", "link to nothing", "folder", "pipe", "file"])
async def test_what_is_there_is_left_alone(server, tmp_path, what):
    """In the place of a recording stands something else: nothing is written to it, through it or over it."""
    folder, outside = tmp_path / "sound", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("kept")
    target = folder / "a1b2c3d4.mp3"
    {
        "link to a file": lambda: target.symlink_to(outside),
        "link to nothing": lambda: target.symlink_to(tmp_path / "new"),
        "folder": target.mkdir,
        "pipe": lambda: os.mkfifo(target),
        "file": lambda: target.write_text("another"),
    }[what]()
    before = target.lstat()
    async with client(server.url) as uc:
        with pytest.raises(FileExistsError):
            await uc.recordings.download(Recording(guid="a1b2c3d4", calldate=WHEN), folder)
    after = target.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
    assert outside.read_text() == "kept"
    assert not (tmp_path / "new").exists()
    assert [path.name for path in folder.iterdir()] == ["a1b2c3d4.mp3"]


async def test_a_folder_that_becomes_a_link_meanwhile(server, tmp_path):
    """The folder is held open: a link put in its place leads nobody elsewhere."""
    folder, elsewhere = tmp_path / "sound", tmp_path / "elsewhere"
    elsewhere.mkdir()
    held = Folder(folder)
    held.open()
    try:
        folder.rename(tmp_path / "moved")
        folder.symlink_to(elsewhere)
        arrival = Arrival(held, "a1b2c3d4.mp3")
        arrival.open()
        arrival.write(SOUND)
        arrival.keep()
    finally:
        held.close()
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["a1b2c3d4.mp3"]
    assert [*elsewhere.iterdir()] == []
