"""S10 and S16: nothing follows a redirect, and nothing of the environment sends requests or secrets elsewhere."""

import sys
from datetime import datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "emulated"))

from scripted_server import ANSWER, Scripted

from ucontact_async import (
    ListRow,
    NotFound,
    Recording,
    ScheduledCall,
    UContact,
    UContactError,
    Unauthorized,
    UnreadableReply,
)

WHEN = datetime(2099, 5, 5, 10)
CALL = ScheduledCall(campaign="Ventas->", destination="099123456", calldate=WHEN)
ASKS = {
    "call": lambda uc, folder: uc.send(CALL),
    "read": lambda uc, folder: uc.campaigns.summary(),
    "login": lambda uc, folder: uc.login(),
    "upload": lambda uc, folder: upload(uc),
    "download": lambda uc, folder: uc.recordings.download(Recording(guid="a1b2c3d4"), folder, send_token=True),
}


async def upload(uc):
    rows = [ListRow(destination="099123456", data={"name": "Ana"})]
    (await uc.dialers.upload(rows, campaign="Ventas->")).raise_for_status()


@pytest.fixture(scope="module")
def elsewhere():
    """A server that nobody should reach."""
    with Scripted(lambda connection, *_: connection.sendall(ANSWER)) as server:
        yield server


@pytest.mark.parametrize("lane", ["command", "session"])
@pytest.mark.parametrize("where", ["same origin", "other origin"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status, where, lane, elsewhere, tmp_path):
    """Each code, to the same server and to another: one request, an error, and nobody else hears of it."""
    place = "/moved" if where == "same origin" else f"{elsewhere.url}/moved"
    answer = f"HTTP/1.1 {status} Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()
    with Scripted(lambda connection, *_: connection.sendall(answer)) as server:
        async with UContact(server.url, token="t", user="api", timezone="UTC", lane=lane) as uc:
            with pytest.raises(UnreadableReply) as raised:
                await uc.send(CALL)
            assert raised.value.may_have_happened
            assert raised.value.attempts == 1
        async with UContact(server.url, token="t", user="api", timezone="UTC", lane=lane) as uc:
            with pytest.raises(UContactError):
                await ASKS["upload"](uc, tmp_path)
    assert len(server.requests) == 2
    assert not any(b"/moved" in request for request in server.requests)
    assert elsewhere.requests == []


@pytest.mark.parametrize("ask", ["read", "login", "download"])
async def test_no_read_follows_a_redirect(ask, elsewhere, tmp_path):
    """A read, a login and a download are tried again, at the same place only."""
    answer = f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere.url}/moved\r\nContent-Length: 0\r\n\r\n".encode()
    secrets = {"user": "api", "password": "p"} if ask == "login" else {"token": "t"}
    with Scripted(lambda connection, *_: connection.sendall(answer)) as server:
        async with UContact(server.url, timezone="UTC", **secrets) as uc:
            with pytest.raises(UContactError):
                await ASKS[ask](uc, tmp_path)
    assert elsewhere.requests == []
    assert not any(b"/moved" in request for request in server.requests)


@pytest.mark.parametrize("status", [302, 303])
async def test_the_login_page_is_a_refused_token(status, elsewhere):
    """A redirect to the login page of another server says that the token is dead, and gets nothing."""
    answer = f"HTTP/1.1 {status} x\r\nLocation: {elsewhere.url}/login.jsp?x\r\nContent-Length: 0\r\n\r\n".encode()
    with Scripted(lambda connection, *_: connection.sendall(answer)) as server:
        async with UContact(server.url, token="t", timezone="UTC") as uc:
            with pytest.raises(Unauthorized):
                await uc.send(CALL)
    assert elsewhere.requests == []


@pytest.mark.parametrize("lane", ["command", "session"])
async def test_proxies_and_netrc_are_ignored(lane, elsewhere, tmp_path, monkeypatch):
    """A proxy and a password that the environment names are not used: a token goes to its server only."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login evil password canary-netrc\ndefault login evil password canary-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "ws_proxy"):
        monkeypatch.setenv(name, elsewhere.url)

    def script(connection, number, request):
        connection.sendall(b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n" if b"/records/" in request else ANSWER)

    with Scripted(script) as server:
        async with UContact(server.url, token="t", timezone="UTC", lane=lane) as uc:
            await uc.send(CALL)
            with pytest.raises(NotFound):
                await uc.recordings.download(Recording(guid="a1b2c3d4"), tmp_path / "sound")
    assert elsewhere.requests == []
    call, *looks = server.requests
    assert b"Authorization: Basic t\r\n" in call
    assert looks
    assert not any(b"Authorization" in look for look in looks)
    assert not any(b"canary-netrc" in request for request in server.requests)


async def test_keys_of_connections_are_written_nowhere(tmp_path, monkeypatch):
    """``SSLKEYLOGFILE`` does not get the keys by which others could read the traffic."""
    trustme = pytest.importorskip("trustme", reason="trustme is not installed: python -m pip install trustme")
    import ssl

    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Scripted(lambda connection, *_: connection.sendall(ANSWER), context) as server:
        async with UContact(server.url, token="t", timezone="UTC", ca=tmp_path / "ca.pem") as uc:
            await uc.send(CALL)
    assert not (tmp_path / "keys").exists()
