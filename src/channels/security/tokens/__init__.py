"""Who a client is, by a token: in a header, in a subprotocol, or a ticket that is good once.

    application = ProtocolTypeRouter({
        "websocket": TokenAuthMiddleware(URLRouter(routes), SignedTokenVerifier()),
    })

Verifiers find out whose token it is: here are those for tokens that Django signs and for tickets,
for JWT, and for those of Django REST framework and simplejwt. Any object with a method ``verify()``
is one (:class:`Verifier`).
"""

from .base import Identity, Verifier
from .drf import DRFTokenVerifier, SimpleJWTVerifier
from .jwts import JWTVerifier
from .middleware import TokenAuthMiddleware, refresh_token
from .signed import SignedTokenVerifier
from .tickets import TicketVerifier, TicketView, make_ticket

__all__ = [
    "DRFTokenVerifier",
    "Identity",
    "JWTVerifier",
    "SignedTokenVerifier",
    "SimpleJWTVerifier",
    "TicketVerifier",
    "TicketView",
    "TokenAuthMiddleware",
    "Verifier",
    "make_ticket",
    "refresh_token",
]
