"""What the admin shows the page as."""

from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ["LiveConnection"]


class LiveConnection(models.Model):
    """No table has rows of it: it stands for the page, and carries its permissions."""

    class Meta:
        """``migrate`` makes the permissions, and nothing else."""

        managed = False
        default_permissions = ("view",)
        permissions = (("disconnect_liveconnection", "Can disconnect live connections"),)
        verbose_name = _("live connection")
        verbose_name_plural = _("live connections")

    def __str__(self) -> str:
        return str(self._meta.verbose_name)
