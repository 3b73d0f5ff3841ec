"""What comes from people."""

from django import forms

from .models import Order, Status


class OrderForm(forms.ModelForm):
    """Places an order."""

    class Meta:
        model = Order
        fields = ("item",)


class MoveForm(forms.Form):
    """Moves an order on."""

    to = forms.TypedChoiceField(choices=Status, coerce=Status)
