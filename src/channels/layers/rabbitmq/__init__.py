"""The channel layer over RabbitMQ."""

try:
    import aiormq  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"The RabbitMQ channel layer needs aiormq ({error}); install it with: "
        'pip install "channels[rabbitmq]"'
    ) from error

from .layer import RabbitMQChannelLayer
from .noise import bound_noise

__all__ = ["RabbitMQChannelLayer"]

bound_noise()
