"""What people may order."""

from typing import Any

from django import forms

from .painting import COLOURS, SHAPES, Parameters


def choices(names: Any) -> list[tuple[str, str]]:
    return [(name, name) for name in names]


def slider(step: str) -> forms.NumberInput:
    return forms.NumberInput({"type": "range", "step": step})


class ParametersForm(forms.Form):
    """The parameters of a picture, with bounds that keep the work small."""

    shape = forms.ChoiceField(choices=choices(SHAPES), initial=Parameters.shape)
    colours = forms.ChoiceField(choices=choices(COLOURS), initial=Parameters.colours)
    zoom = forms.FloatField(
        min_value=0, max_value=16, initial=Parameters.zoom, widget=slider("0.25")
    )
    detail = forms.IntegerField(
        min_value=25, max_value=1000, initial=Parameters.detail, widget=slider("25")
    )
    x = forms.FloatField(label="Centre, x", min_value=-2.5, max_value=2.5, initial=Parameters.x)
    y = forms.FloatField(label="Centre, y", min_value=-2.5, max_value=2.5, initial=Parameters.y)

    def clean(self) -> None:
        if not self.errors:
            self.parameters = Parameters(**self.cleaned_data)
