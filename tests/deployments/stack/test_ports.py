import socket
from pathlib import Path

import pytest

from deployments.stack.errors import StackError
from deployments.stack.ports import LOOPBACK, PortBook, can_bind


def test_the_usual_port_when_it_is_free(tmp_path: Path) -> None:
    assert PortBook(tmp_path, lambda _port: True).choose(8080, "gateway") == 8080


def test_another_one_when_it_is_taken(tmp_path: Path) -> None:
    port = PortBook(tmp_path, lambda port: port != 8080).choose(8080, "gateway")
    assert port != 8080
    assert can_bind(port)


def test_a_port_that_was_asked_for_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="port 8080 for the gateway is taken") as caught:
        PortBook(tmp_path, lambda _port: False).choose(8080, "gateway", variable="PROMPTYARD_PORT")
    assert "PROMPTYARD_PORT" in caught.value.hint


def test_one_book_gives_each_port_once(tmp_path: Path) -> None:
    book = PortBook(tmp_path, lambda _port: True)
    assert len({book.choose(8080, "gateway") for _ in range(5)}) == 5


def test_a_second_stack_does_not_get_what_the_first_chose_until_it_ends(tmp_path: Path) -> None:
    first, second = PortBook(tmp_path, lambda _port: True), PortBook(tmp_path, lambda _port: True)
    assert first.choose(8080, "gateway") == 8080
    assert second.choose(8080, "gateway") != 8080
    first.close()
    assert PortBook(tmp_path, lambda _port: True).choose(8080, "gateway") == 8080


def test_a_listening_socket_takes_its_port() -> None:
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()
        assert not can_bind(server.getsockname()[1])
