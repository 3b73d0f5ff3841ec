"""What people may enter."""

from typing import Any

from django import forms

from .models import Notification


class NotificationForm(forms.ModelForm):
    """Tells something to somebody else."""

    class Meta:
        model = Notification
        fields = ("person", "text")
        widgets = {"text": forms.TextInput(attrs={"autocomplete": "off"})}

    def __init__(self, sender: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = self.fields["person"].queryset.exclude(pk=sender.pk).order_by("username")
        self.fields["person"].queryset = others
        self.fields["person"].empty_label = None
