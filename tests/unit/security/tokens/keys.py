"""Keys to sign with, and a server that publishes them."""

import contextlib
import json
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@cache
def pair(name):
    """A private key, and the public one as PEM. ``name`` tells several apart."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public.decode()


def as_jwk(name):
    public = pair(name)[0].public_key()
    return {**jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True), "kid": name, "use": "sig"}


class Issuer:
    """What it publishes, and how often that was asked for. It fails while that is None."""

    def __init__(self, *names):
        self.names = names
        self.asked = 0
        #: It answers as long as this is set.
        self.answers = threading.Event()
        self.answers.set()

    @contextlib.contextmanager
    def running(self):
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked += 1
                issuer.answers.wait(30)
                names = issuer.names
                body = json.dumps({"keys": [as_jwk(name) for name in names or ()]}).encode()
                self.send_response(200 if names is not None else 500)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
