"""What people may enter, on a page or through the WebSocket."""

from django import forms

from .models import TEXT_LENGTH, Room


class RoomForm(forms.ModelForm):
    """Opens a room. Names that differ only in case or spaces are the same name."""

    class Meta:
        model = Room
        fields = ("name",)

    def clean_name(self) -> str:
        name = " ".join(self.cleaned_data["name"].split())
        if Room.objects.filter(name__iexact=name).exists():
            raise forms.ValidationError("There is already a room with this name.")
        return name


class MessageForm(forms.Form):
    """Checks a message: not empty, not too long. It asks no database, so a coroutine may use it."""

    key = forms.UUIDField()
    text = forms.CharField(max_length=TEXT_LENGTH)
