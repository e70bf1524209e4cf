import socket
import ssl

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from transports.store.redis_errors import RedisUnavailable, reason_of


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        ("ERR Error running script (call to f_1): @user_script:3: -OOM command not allowed", "OOM"),
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("NOAUTH Authentication required.", "NOAUTH"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "NOAUTH"),
        ("NOPERM this user has no permissions to run the 'evalsha' command", "NOPERM"),
        ("LOADING Redis is loading the dataset in memory", "LOADING"),
        ("MOVED 3999 127.0.0.1:6381", "MOVED"),
        ("MISCONF Errors writing to the AOF file: No space left on device", "MISCONF"),
        ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS"),
        ("BUSY Redis is busy running a script.", "BUSY"),
        ("CLUSTERDOWN Hash slot not served", "CLUSTERDOWN"),
        ("MASTERDOWN Link with MASTER is down", "MASTERDOWN"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE"),
        ("ERR something SECRET else", "refusal"),
    ],
)
def test_an_error_answer_becomes_one_reason(said, reason):
    assert reason_of(BaseParser.parse_error(said)) == reason


def of(cause):
    error = exceptions.ConnectionError("Error 1 connecting")
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (of(ConnectionRefusedError(111, "Connect call failed")), "refused"),
        (of(ssl.SSLCertVerificationError(1, "certificate verify failed")), "tls"),
        (of(socket.gaierror(-2, "Name or service not known")), "name"),
        (of(None), "lost"),
        (of(ValueError("of the caller's own")), "lost"),
        (ConnectionResetError(104, "reset"), "lost"),
        (exceptions.ConnectionError("Connection closed by server."), "lost"),
        (exceptions.TimeoutError("Timeout"), "timeout"),
        (TimeoutError(), "timeout"),
        (EOFError(), "lost"),
        (exceptions.InvalidResponse("Protocol Error"), "garbled"),
        (ValueError("invalid literal"), "garbled"),
    ],
)
def test_a_connection_error_becomes_one_reason(error, reason):
    assert reason_of(error) == reason


def test_an_error_names_the_address_and_reason():
    error = RedisUnavailable("cache.example:6379", "OOM")
    assert error.reason == "OOM"
    assert "cache.example:6379" in str(error)
    assert "OOM" in str(error)
