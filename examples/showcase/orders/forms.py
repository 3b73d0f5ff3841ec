"""What comes from people."""

from django import forms

from .models import Item, Order, Status


class OrderForm(forms.ModelForm):
    """Places an order."""

    item = forms.ChoiceField(choices=Item, label="What would you like?")

    class Meta:
        model = Order
        fields = ("item",)


class MoveForm(forms.Form):
    """Moves an order on."""

    to = forms.TypedChoiceField(choices=Status, coerce=Status)
