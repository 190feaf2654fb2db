"""The server that the tests of the fleet stand on."""

import signal

import pytest

psycopg = pytest.importorskip(
    "psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'"
)


def test_each_test_has_a_database_of_its_own(postgres):
    """What is written in one database is not in the next, and a template is there for those who want it."""
    one = postgres.fresh()
    with psycopg.connect(postgres.url(one), autocommit=True) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 1 AS here")
    two, copy = postgres.fresh(), postgres.fresh(one)
    with psycopg.connect(postgres.url(copy)) as connection:
        assert connection.execute("SELECT here FROM mine").fetchone() == (1,)
    with psycopg.connect(postgres.url(two)) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT here FROM mine")
    for name in (one, two, copy):
        postgres.drop(name)


def test_a_server_that_ends_and_starts_again_has_what_was_committed(postgres):
    """A committed row is there after a stop and after a crash, at the same address, by another process."""
    url = postgres.url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 0 AS times")
    for times, how in enumerate([signal.SIGINT, signal.SIGQUIT]):
        before = postgres.pid
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE kept SET times = times + 1")
            connection.commit()
            connection.execute("UPDATE kept SET times = 9")
            postgres.stop(how)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        postgres.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT times FROM kept").fetchone() == (times + 1,)
        assert postgres.pid != before
