"""S2: TLS is verified, 1.2 or newer, and cannot be switched off; authorities, pins and a certificate of our own."""

import ast
import datetime as dt
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "emulated"))

from scripted_server import ANSWER, Scripted

import ucontact_async
from ucontact_async import NotSent, Recording, ScheduledCall, Secret, SettingsError, Tls, UContact
from ucontact_async.trust import context_of

trustme = pytest.importorskip("trustme", reason="trustme is not installed: python -m pip install trustme")
HOUSE = Path(ucontact_async.__file__).parent
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
CALL = ScheduledCall(campaign="Ventas->", destination="099123456", calldate=dt.datetime(2099, 5, 5, 10))


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """Return the authority's certificate, and one of ours with its key, as files."""
    folder = tmp_path_factory.mktemp("certificates")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    own = authority.issue_cert("client@example.com")
    own.private_key_and_cert_chain_pem.write_to_path(str(folder / "own.pem"))
    return folder


def good(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def client(url, files, **options):
    tls = Tls(**{"ca": files / "ca.pem", **options})
    return UContact(url, token="t", timezone="America/Montevideo", tls=tls)


def by_openssl(folder, *arguments, name="127.0.0.1"):
    """Have openssl make a certificate that signed itself, and return a context that shows it."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{name}"]
    made = ["openssl", "req", "-x509", "-nodes", "-keyout", key, "-out", cert, *names, *arguments]
    subprocess.run([str(part) for part in made], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")  # the server takes what is weak: the client must not
    context.load_cert_chain(cert, key)
    return context, cert


def leaf(authority, **dates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", **dates).configure_cert(context)
    return context


def old(authority, version):
    context = good(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


BAD = {
    "expired": lambda ca, folder: (leaf(ca, not_before=NOW - 9 * DAY, not_after=NOW - DAY), None),
    "not valid yet": lambda ca, folder: (leaf(ca, not_before=NOW + DAY, not_after=NOW + 9 * DAY), None),
    "of an authority that nobody knows": lambda ca, folder: (good(trustme.CA()), None),
    "signed by itself": lambda ca, folder: (by_openssl(folder, "-newkey", "rsa:2048")[0], None),
    "with a key of 1024 bits": lambda ca, folder: by_openssl(folder, "-newkey", "rsa:1024"),
    "TLS 1.0 only": lambda ca, folder: (old(ca, ssl.TLSVersion.TLSv1), None),
    "TLS 1.1 only": lambda ca, folder: (old(ca, ssl.TLSVersion.TLSv1_1), None),
    "of another host": lambda ca, folder: (elsewhere(ca), None),
    "without a name": lambda ca, folder: (nameless(ca), None),
}


def elsewhere(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(context)
    return context


def nameless(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("someone@example.com", common_name="127.0.0.1").configure_cert(context)
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("kind", BAD)
async def test_nothing_is_sent_to_a_bad_certificate(kind, authority, files, tmp_path):
    """A certificate that is bad in any way gets no byte of a request: not a call, not a login, not a download."""
    context, trusted = BAD[kind](authority, tmp_path)
    with Scripted(lambda connection, number, request: connection.sendall(ANSWER), context) as server:
        async with client(server.url, files, **({} if trusted is None else {"ca": trusted})) as uc:
            for ask in (
                lambda: uc.send(CALL),
                uc.campaigns.summary,
                lambda: uc.recordings.download(Recording(guid="a1b2c3d4"), tmp_path / "sound"),
            ):
                with pytest.raises(NotSent):
                    await ask()
    assert server.requests == []


async def test_a_certificate_that_signed_itself_can_be_trusted(files, tmp_path):
    """Its own certificate given as ``ca``: verified like any other, without switching anything off."""
    context, cert = by_openssl(tmp_path, "-newkey", "rsa:2048")
    with Scripted(lambda connection, number, request: connection.sendall(ANSWER), context) as server:
        async with client(server.url, files, ca=cert) as uc:
            await uc.send(CALL)
    assert len(server.requests) == 1


def fingerprint(context_file):
    der = ssl.PEM_cert_to_DER_cert(context_file)
    import hashlib

    return hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("write", [str.upper, lambda pin: ":".join(pin[i : i + 2] for i in range(0, 64, 2))])
async def test_a_pin(authority, files, write):
    """The pinned certificate passes, also with colons; any other of the same authority gets nothing."""
    shown = authority.issue_cert("127.0.0.1")
    pin = write(fingerprint(shown.cert_chain_pems[0].bytes().decode()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.configure_cert(context)
    for served, passes in ((context, True), (good(authority), False)):
        with Scripted(lambda connection, number, request: connection.sendall(ANSWER), served) as server:
            async with client(server.url, files, pins=("0" * 64, pin)) as uc:
                if passes:
                    await uc.send(CALL)
                else:
                    with pytest.raises(NotSent, match="none of those that were pinned"):
                        await uc.send(CALL)
        assert len(server.requests) == passes


async def test_a_pin_does_not_replace_the_rest(authority, files, tmp_path):
    """The right pin of a certificate that is not trusted: nothing is sent."""
    context, cert = by_openssl(tmp_path, "-newkey", "rsa:2048")
    with Scripted(lambda connection, number, request: connection.sendall(ANSWER), context) as server:
        async with client(server.url, files, pins=(fingerprint(cert.read_text()),)) as uc:
            with pytest.raises(NotSent, match="not trusted"):
                await uc.send(CALL)
    assert server.requests == []


async def test_our_own_certificate_is_shown(authority, files):
    """A server that asks for a certificate gets ours; without one it gets nothing."""
    context = good(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # by 1.3 the refusal comes after the request
    with Scripted(lambda connection, number, request: connection.sendall(ANSWER), context) as server:
        async with client(server.url, files, cert=files / "own.pem") as uc:
            await uc.send(CALL)
        async with client(server.url, files) as uc:
            with pytest.raises(NotSent):
                await uc.send(CALL)
    assert len(server.requests) == 1


def test_an_encrypted_key_never_asks_at_the_terminal(files, tmp_path):
    """A key opens by its password; without it, or with a wrong one, a sentence says so and nothing waits."""
    key = tmp_path / "key.pem"
    run = ["openssl", "pkey", "-in", files / "own.pem", "-aes256", "-passout", "pass:opens", "-out", key]
    subprocess.run([str(part) for part in run], check=True, capture_output=True)
    context_of(Tls(cert=files / "own.pem", key=key, key_password=Secret("opens")))
    for password in (None, Secret("wrong")):
        with pytest.raises(SettingsError, match="client certificate"):
            context_of(Tls(cert=files / "own.pem", key=key, key_password=password))


@pytest.mark.parametrize("name", ["ca", "cert"])
async def test_a_file_that_is_none_is_a_setting_that_is_wrong(name, tmp_path):
    """A missing file and one that is no certificate are our own error, and nothing is sent."""
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("rubbish")
    for file in (tmp_path / "none", rubbish):
        async with UContact("https://127.0.0.1:9", token="t", timezone="UTC", tls=Tls(**{name: file})) as uc:
            with pytest.raises(SettingsError):
                await uc.send(CALL)


@pytest.mark.parametrize(
    "options", [{"pins": ("abc",)}, {"pins": ("g" * 64,)}, {"key": Path("k")}, {"key_password": Secret("x")}]
)
def test_settings_that_make_no_sense(options):
    """A pin that is none, and a key without its certificate."""
    with pytest.raises(SettingsError):
        Tls(**options)


def test_the_context_verifies():
    """Host names and certificates are checked from TLS 1.2 on, and no file gets the keys of connections."""
    context = context_of(Tls())
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.keylog_filename is None


OFF = {"CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context", "check_hostname", "verify_mode", "verify_ssl"}
MAKERS = {"SSLContext", "create_default_context", "wrap_socket", "Fingerprint", "_Context"}


def switched_off(tree):
    """Yield each place of ``tree`` that makes a TLS context of its own, or names what would verify less."""
    for node in ast.walk(tree):
        name = getattr(node, "attr", getattr(node, "id", getattr(node, "arg", None)))
        if name in OFF or (
            isinstance(node, ast.keyword) and name == "ssl" and getattr(node.value, "value", 1) is False
        ):
            yield name
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in MAKERS:
                yield called


def test_no_line_switches_it_off():
    """In the whole package one call makes a context, and no line names what would verify less."""
    found = {
        file.name: places
        for file in HOUSE.rglob("*.py")
        if (places := sorted(set(switched_off(ast.parse(file.read_text(encoding="utf-8"))))))
    }
    assert found == {"trust.py": ["_Context"]}


@pytest.mark.parametrize("line", ["connect(ssl=False)", "c.verify_mode = ssl.CERT_NONE", "x = ssl.SSLContext(p)"])
def test_that_look_sees(line):
    """Each way to switch verification off is found by the look at the source."""
    assert list(switched_off(ast.parse(line)))
