"""Kills gateways under load, and compares the usage ledger with what clients counted.

A process imports the gateway once and forks a worker again and again, all on one socket; each is killed (SIGKILL) after
a random time, while clients chat. A client counts an answer when it has it whole. Of an answer that a kill cut off the
ledger may have the usage or not.

    python -m tests.kills 1000
"""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from importlib import import_module
from pathlib import Path

import httpx2 as httpx
import msgspec

KEY = "sk-gg-a-license-key-for-kills-0001"
CLIENTS = 4
SHORTEST, LONGEST = 0.05, 0.3
"""Seconds that a worker lives after it is ready."""
SETTINGS = f"""
[[licenses]]
id = "customer"
key = "{KEY}"

[transports.simulator.pace]
first_token_seconds = 0.0
tokens_per_second = 0.0
"""


class Counted(msgspec.Struct):
    """What one client counted."""

    whole: dict[str, tuple[int, int]] = {}
    """Tokens in and out by request id."""
    cut: int = 0


def fork_and_kill(config, kills):
    """Fork `kills` workers, and kill each; then run one until standard input ends."""
    for module in ("service.gateway", "service.cli.serve", "transports.simulator.site", "PIL.ImageFont", "uvloop"):
        import_module(module)  # once for all workers
    from service.cli.main import main

    rng = random.Random(16)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        print(listening.getsockname()[1], flush=True)
        for number in range(kills + 1):
            ours, theirs = socket.socketpair()
            worker = os.fork()
            if not worker:
                ours.close()
                arguments = ["serve", "--config", config, "--fd", f"api={listening.fileno()}"]
                main([*arguments, "--parent", str(theirs.fileno())])
                os._exit(0)
            theirs.close()
            assert ours.recv(1), "the worker did not start"
            if number < kills:
                time.sleep(rng.uniform(SHORTEST, LONGEST))
                os.kill(worker, signal.SIGKILL)
                os.waitpid(worker, 0)
                continue
            print("done", flush=True)
            sys.stdin.read()
            os.kill(worker, signal.SIGTERM)
            os.waitpid(worker, 0)


def chat_until(ended, url, counted):
    """Chat, every other time streamed, until `ended` is set."""
    with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        while not ended.is_set():
            streamed = (len(counted.whole) + counted.cut) % 2 == 1
            body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "Hello!"}], "stream": streamed}
            if streamed:
                body["stream_options"] = {"include_usage": True}
            try:
                usage = answer(client, url, body)
            except (httpx.TransportError, EOFError):
                counted.cut += 1
                continue
            counted.whole[usage[0]] = usage[1:]


def answer(client, url, body):
    """Return the id and the tokens of a whole answer, as its client sees them, once it has the last byte."""
    usage = None
    with client.stream("POST", url, json=body) as response:
        assert response.status_code == 200, response.read()
        if not body["stream"]:
            response.read()
            usage = response.json()["usage"]
        else:
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    usage = msgspec.json.decode(line.removeprefix("data: ")).get("usage") or usage
                if line == "data: [DONE]":
                    break
            else:
                raise EOFError
    return response.headers["x-request-id"], usage["prompt_tokens"], usage["completion_tokens"]


def run(kills, folder, more=""):
    """Kill workers under load; return what the clients counted."""
    config = Path(folder) / "gateway.toml"
    config.write_text(SETTINGS + more)
    command = [sys.executable, "-m", "tests.kills", "fork", str(config), str(kills)]
    ended, counted = threading.Event(), [Counted() for _ in range(CLIENTS)]
    with (
        (Path(folder) / "log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as forking,
    ):
        try:
            url = f"http://127.0.0.1:{int(forking.stdout.readline())}/v1/chat/completions"
            clients = [threading.Thread(target=chat_until, args=(ended, url, one)) for one in counted]
            for client in clients:
                client.start()
            finished = forking.stdout.readline()
            ended.set()
            for client in clients:
                client.join()
            assert finished == "done\n", (Path(folder) / "log").read_text()[-2000:]
            forking.stdin.close()
            assert forking.wait(60) == 0
        finally:
            forking.kill()
    return counted


def compare(counted, ledger):
    """Check the ledger against the clients; return how many answers were whole, cut off, and recorded.

    `ledger` has the records, `(id, input tokens, output tokens)`, and the sums.
    """
    records, sums = ledger
    whole = {key: value for one in counted for key, value in one.whole.items()}
    cut = sum(one.cut for one in counted)
    recorded = {identity: tuple(tokens) for identity, *tokens in records}
    assert len(recorded) == len(records), "a record is there twice"
    lost = {key for key, tokens in whole.items() if recorded.get(key) != tokens}
    assert not lost, f"{len(lost)} of {len(whole)} answers are not in the ledger"
    assert len(recorded) - len(whole) <= cut, "the ledger has answers that no client asked for"
    assert sums == (len(records), *(sum(one[index] for one in records) for index in (1, 2)))
    return len(whole), cut, len(records)


def ledger_of(folder):
    """Return the records and the sums of a ledger's file, read without the gateway's code."""
    with closing(sqlite3.connect(Path(folder) / "usage.sqlite3")) as database:
        found = database.execute("SELECT id, input_tokens, output_tokens FROM record").fetchall()
        sums = database.execute("SELECT SUM(requests), SUM(input_tokens), SUM(output_tokens) FROM sums").fetchone()
    return [(f"req_{identity[1:].hex()}", *tokens) for identity, *tokens in found], sums


def main(kills):
    """Run the long form."""
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        whole, cut, recorded = compare(run(kills, folder), ledger_of(folder))
    print(f"{kills} kills: {whole} whole answers, all recorded once; {cut} cut off; {recorded} records")


if __name__ == "__main__":
    if sys.argv[1] == "fork":
        fork_and_kill(sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]))
