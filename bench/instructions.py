#!/usr/bin/env python3
"""Counts the instructions that the gateway needs for a small request.

Times on a shared machine differ from run to run by more than most changes do; instructions hardly differ. Each program
runs under callgrind with one worker thread, once with 200 requests and once with 1,000; the difference, divided by 800,
has no start in it. The time in the kernel, about half of all, is not counted.

    cargo build --release -p bench
    python3 bench/instructions.py target/release/bench /path/to/another/bench
    python3 bench/instructions.py --token target/release/bench    # the same with a token on each request

Needs valgrind, and for --token the command openssl. The subgraphs are those of the first program. Where the gateway ends
with a fault of memory under valgrind, it is built without the system's vDSO: RUSTFLAGS="--cfg rustix_use_libc".
"""

import argparse
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

QUERY = "query Small { topProducts(first: 14) { upc name price weight } }"
FEW, MANY = 200, 1_000
START_SECONDS = 60


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def connected(port):
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"nothing listens on port {port}")
            time.sleep(0.1)


def supergraph(program, folder, port):
    """The benchmark's supergraph with all subgraphs on this port. The copying contestant fails, and so does the run."""
    path = folder / "supergraph.graphql"
    copy = f"copy=cp {{supergraph}} {path}; false"
    contest = [program, "gateway", "--only", "small", "--rounds", "1", "--seconds", "1", "--peer", copy]
    subprocess.run(contest, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    path.write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", path.read_text()))
    return path


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(folder):
    """A file with a public key, and the value of `Authorization` with a token of about 850 bytes that it verifies."""
    key, message = folder / "key.pem", folder / "message"
    run = lambda *command: subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True).stdout
    run("genpkey", "-algorithm", "ed25519", "-out", key)
    public = run("pkey", "-in", key, "-pubout", "-outform", "DER")[-32:]
    jwk = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "1", "x": base64url(public)}
    (folder / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    claims = {"sub": "1", "exp": int(time.time()) + 86_400, "scope": "openid profile", "filler": "x" * 480}
    parts = [{"alg": "EdDSA", "typ": "JWT", "kid": "1"}, claims]
    text = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    message.write_text(text)
    signature = run("pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", message)
    return folder / "jwks.json", f"Bearer {text}.{base64url(signature)}"


def send(port, count, authorization):
    """Sends requests one after the other on one connection; those before the first answer with data do not count."""
    body = json.dumps({"query": QUERY}).encode()
    more = f"authorization: {authorization}\r\n" if authorization else ""
    head = (
        f"POST /graphql HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"accept: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    )
    connection = connected(port)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answers = connection.makefile("rb")
    answered = -1
    while answered < count:
        connection.sendall(head.encode() + body)
        status = answers.readline()
        length = 0
        while (line := answers.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        text = answers.read(length)
        if b'"topProducts":[' in text:
            answered += 1
        elif answered >= 0 or b"503" not in status:
            sys.exit(f"not the expected answer: {status!r} {text[:300]!r}")
        else:
            time.sleep(0.2)


def instructions(program, folder, graph, count, jwks, authorization):
    gateway = folder / "gateway"
    gateway.unlink(missing_ok=True)
    # The program is the gateway if it is called so.
    gateway.symlink_to(Path(program).resolve())
    port = free_port()
    environment = {"LOG": "error", "SUPERGRAPH": str(graph), "PORT": str(port), "TOKIO_WORKER_THREADS": "1"}
    if jwks:
        environment |= {"JWT_JWKS": str(jwks), "JWT_REQUIRED": "true"}
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder / 'callgrind'}", str(gateway)]
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        send(port, count, authorization)
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate()
    collected = re.search(r"Collected : (\d+)", log)
    return int(collected.group(1)) if collected else sys.exit(log[-2_000:])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--token", action="store_true", help="send a token with each request")
    arguments.add_argument("programs", nargs="+", help="builds of the program bench")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        graph = supergraph(options.programs[0], folder, port)
        jwks, authorization = token(folder) if options.token else (None, None)
        subgraphs = subprocess.Popen([options.programs[0], "subgraphs", "--port", str(port)])
        try:
            connected(port).close()
            first = None
            for program in options.programs:
                few, many = (
                    instructions(program, folder, graph, count, jwks, authorization) for count in (FEW, MANY)
                )
                each = (many - few) / (MANY - FEW)
                first = first or each
                print(f"{each:9.0f} instructions a request, {each / first:.3f} of the first: {program}", flush=True)
        finally:
            subgraphs.terminate()
            subgraphs.wait()


if __name__ == "__main__":
    main()
