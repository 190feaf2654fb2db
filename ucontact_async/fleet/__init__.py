"""The fleet (extra ``fleet``): many workers on one PostgreSQL database, which alone says who may send which row."""

try:
    import psycopg as _psycopg  # noqa: F401
    import psycopg_pool as _psycopg_pool  # noqa: F401
except ModuleNotFoundError as error:
    why = "the fleet needs psycopg: python -m pip install 'ucontact-async[fleet]'"
    raise ModuleNotFoundError(why, name=error.name) from None

from .database import Database
from .engine import ShardRunner
from .lease import enter_tenant
from .limits import set_limits
from .load import Loaded, load
from .overview import drain, overview
from .shared_limiter import SharedLimiter
from .token import PostgresTokenStore
from .worker import Worker

__all__ = [
    "Database",
    "Loaded",
    "PostgresTokenStore",
    "ShardRunner",
    "SharedLimiter",
    "Worker",
    "drain",
    "enter_tenant",
    "load",
    "overview",
    "set_limits",
]
