"""A real PostgreSQL in a folder of its own, run by an ordinary user and reached by a Unix socket: no port to collide.

It knows processes and folders, and nothing of the fleet. PostgreSQL refuses to run as root: there it runs as another
user, and its folder stands where that user can reach it.
"""

import contextlib
import itertools
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

PATIENCE = 30.0
USER = "fleet"
INSTALL = "PostgreSQL is not installed: apt-get install postgresql"
# What a crash of the machine may cost is of no interest to a test: what is written survives every end of the process.
VOLATILE = ("fsync=off", "full_page_writes=off")
SMALL = (
    "listen_addresses=",
    "shared_buffers=32MB",
    "huge_pages=off",
    "max_connections=100",
    "logging_collector=off",
    "recovery_init_sync_method=syncfs",  # else a start after a crash syncs a thousand files, one by one
    "log_min_messages=fatal",
    "timezone=UTC",
)


def binaries():
    """Return the folder of PostgreSQL's programs, the newest there is; ``None`` where there are none."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    found = [path.resolve().parent for path in [Path(shutil.which("initdb") or "")] if path.name]
    found += sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    return next((folder for folder in found if (folder / "postgres").exists()), None)


class Postgres:
    """A server that ends with the ``with`` block; it may be crashed, stopped and started again meanwhile."""

    def __init__(self, *, durable=False, environment=None):
        """``durable`` keeps ``fsync`` on, as where it matters; without it a test costs less.

        ``environment`` is added to that of the server.
        """
        programs = binaries()
        if programs is None:
            raise FileNotFoundError(INSTALL)
        self._programs = programs
        self._as = _ordinary_user()
        self._folder = Path(tempfile.mkdtemp(prefix="fleet-", dir=_reachable() if self._as else None))
        if self._as:
            os.chown(self._folder, self._as["user"], self._as["group"])
        self._settings = [*SMALL, *(() if durable else VOLATILE), f"unix_socket_directories={self._folder}"]
        self._environment = environment or {}
        self._process = None
        self._names = itertools.count(1)

    def __enter__(self):
        try:
            options = ("-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
            if self._launch("initdb", *options).wait(PATIENCE):
                raise RuntimeError(f"initdb failed: {self.log}")
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info):
        if self._process is not None:
            self.stop(signal.SIGQUIT)  # nobody will read what a clean end would write
        shutil.rmtree(self._folder)

    @property
    def pid(self):
        """The server's process."""
        return self._process.pid

    @property
    def log(self):
        """What the server and its programs have said."""
        return (self._folder / "log").read_text()

    def url(self, name="postgres"):
        """Return the address of the database ``name``."""
        return f"postgresql://{USER}@/{name}?host={quote(str(self._folder), safe='')}"

    def start(self):
        """Start the server, and return when it can be asked."""
        self._process = self._launch("postgres", *(f"--{setting}" for setting in self._settings))
        until = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start: {self.log}")
            time.sleep(0.02)

    def stop(self, how=signal.SIGINT):
        """End the server: SIGINT cuts all connections, SIGQUIT is a crash, after which it recovers."""
        self._process.send_signal(how)
        self._process.wait(PATIENCE)
        self._process = None

    def fresh(self, template="template1"):
        """Make a database, a copy of ``template``, and return its name."""
        name = f"fleet_{next(self._names)}"
        self._administer(f'CREATE DATABASE {name} TEMPLATE "{template}"')
        return name

    def drop(self, name):
        """Remove the database ``name``, and whoever is connected to it."""
        self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _administer(self, statement):
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _answers(self):
        command = [self._programs / "pg_isready", "-q", "-h", self._folder, "-U", USER, "-d", "postgres"]
        return subprocess.run(command, check=False, timeout=PATIENCE).returncode == 0

    def _launch(self, program, *arguments):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        kept |= self._environment if program == "postgres" else {}
        with (self._folder / "log").open("ab") as log:
            # A group of its own: Ctrl-C is for whoever runs the test, who then ends the server last.
            return subprocess.Popen(
                [self._programs / program, "-D", self._folder / "data", *arguments],
                **{"cwd": self._folder, "env": kept, "stdout": log, "stderr": log, "process_group": 0, **self._as},
            )


def _ordinary_user():
    """Return as whom the server runs: nothing to say but for root."""
    if os.geteuid():
        return {}
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _reachable():
    """Return a folder for temporary files that other users may pass through: what root was given may be private."""
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(folder).resolve()
        if all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents)):
            return path
    raise RuntimeError("no folder for temporary files can be reached by other users")
