"""What the URLs name, and that none that is refused shows its password."""

import pytest

from gateway.storage.redis_url import RedisTarget, read_redis_url

ONE, THREE = (("a", 1),), (("a", 1), ("b", 26379), ("::1", 5))


@pytest.mark.parametrize(
    ("url", "kind", "members", "service", "options", "sentinel"),
    [
        ("redis://:p%40@h:1/2", "server", (), "", {"host": "h", "port": 1, "password": "p@", "db": 2}, {}),
        ("redis+sentinel://a:1/yard", "sentinel", ONE, "yard", {}, {}),
        ("redis+sentinel://a:1,b,[::1]:5/yard/3", "sentinel", THREE, "yard", {"db": 3}, {}),
        (
            "redis+sentinel://u:p%2F@a:1/yard?socket_timeout=2&sentinel_password=s&sentinel_username=t",
            "sentinel",
            ONE,
            "yard",
            {"username": "u", "password": "p/", "socket_timeout": 2.0},
            {"password": "s", "username": "t"},
        ),
        ("redis+cluster://a:1,b:26379,[::1]:5", "cluster", THREE, "", {}, {}),
        ("REDIS+Cluster://:p@a:1/0", "cluster", ONE, "", {"password": "p"}, {}),
    ],
)
def test_urls(
    url: str, kind: str, members: object, service: str, options: dict[str, object], sentinel: dict[str, object]
) -> None:
    found = read_redis_url(url)
    assert (found.kind, found.members, found.service) == (kind, members, service)
    assert (found.options, found.sentinel) == (options, sentinel)


def test_a_member_has_the_usual_port_without_one() -> None:
    assert read_redis_url("redis+cluster://a").members == (("a", 6379),)
    assert read_redis_url("redis+sentinel://a/yard").members == (("a", 26379),)


def test_tls_is_for_servers_and_sentinels_alike() -> None:
    found = read_redis_url("rediss+sentinel://a:1/yard?ssl_ca_certs=ca.pem")
    for options in (found.options, found.sentinel):
        assert options["ssl_ca_certs"] == "ca.pem"
        assert options["connection_class"].__name__ == "SSLConnection"


@pytest.mark.parametrize(
    "url",
    [
        "http://a:secret@b",
        "redis+other://:secret@a",
        "redis+sentinel://:secret@a:1",
        "redis+sentinel://:secret@a:1/",
        "redis+sentinel://:secret@a:1/yard/x",
        "redis+sentinel://:secret@a:0/yard",
        "redis+sentinel://:secret@a:70000/yard",
        "redis+sentinel://:secret@a:1,,b/yard",
        "redis+cluster://:secret@a:1/1",
        "redis+cluster://:secret@",
        "redis+cluster://:secret@a:b:c",
    ],
)
def test_what_is_no_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (each says something else)
        read_redis_url(url)
    assert "secret" not in str(refused.value)


def test_a_target_shows_no_password() -> None:
    assert "secret" not in repr(read_redis_url("redis+cluster://:secret@a:1"))
    assert "secret" not in repr(RedisTarget(kind="server", options={"password": "secret"}))
