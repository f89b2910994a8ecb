"""What a Redis URL names: one server, a Sentinel service, or a cluster. The grammar is in ``redis_store``."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct
from redis.asyncio.connection import parse_url

_SEVERAL = re.compile(
    r"^(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://"
    r"(?:(?P<account>[^@/?#]*)@)?(?P<members>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?$",
    re.IGNORECASE,
)
_MEMBER = re.compile(r"^(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>\d{1,5}))?$")
_PORTS = {"sentinel": 26379, "cluster": 6379}
_PREFIX = "sentinel_"

Address = tuple[str, int]


class RedisTarget(Struct, frozen=True, kw_only=True):
    """``options`` are those of redis-py's connections: accounts, TLS, database. ``kind``: server, sentinel, cluster.

    ``members`` are the addresses of Sentinels or of cluster nodes; ``sentinel`` the options for the Sentinels' own
    connections.
    """

    kind: str
    options: dict[str, Any]
    members: tuple[Address, ...] = ()
    service: str = ""
    sentinel: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"RedisTarget({self.kind}, {len(self.members)} members)"  # options hold passwords


def read_redis_url(url: str) -> RedisTarget:
    """Raises ``ValueError``, which never repeats the URL: it may hold a password."""
    found = _SEVERAL.match(url)
    if found is None:
        return RedisTarget(kind="server", options=dict(parse_url(url)))
    kind, scheme, path = found["kind"].lower(), found["scheme"].lower(), (found["path"] or "/").strip("/")
    members = tuple(_member(one, _PORTS[kind]) for one in found["members"].split(","))
    service, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
    if kind == "sentinel" and not service:
        raise ValueError("a Sentinel URL names the service after the addresses: redis+sentinel://host:26379/service/0")
    if kind == "cluster" and database not in ("", "0"):
        raise ValueError("a Redis Cluster has only database 0")
    if database and not database.isdecimal():
        raise ValueError("the database of a Redis URL is a number")
    given = parse_qsl(found["query"] or "", keep_blank_values=True)
    own = {name.removeprefix(_PREFIX): value for name, value in given if name.startswith(_PREFIX)}
    rest = urlencode([(name, value) for name, value in given if not name.startswith(_PREFIX)])
    account = f"{found['account']}@" if found["account"] else ""
    options = dict(parse_url(f"{scheme}://{account}redis/{database}?{rest}"))
    del options["host"]
    if kind == "cluster":
        options.pop("db", None)
    shared = {name: value for name, value in options.items() if name.startswith("ssl_") or name == "connection_class"}
    return RedisTarget(kind=kind, options=options, members=members, service=service, sentinel=shared | own)


def _member(text: str, port: int) -> Address:
    found = _MEMBER.match(text.strip())
    number = int(found["port"] or port) if found else 0
    if found is None or not 0 < number < 65536:
        raise ValueError("a Redis URL lists its servers as host:port,host:port")
    return found["six"] or found["host"], number
