"""What customers may order."""

from typing import Any

from django import forms

from .painting import FLOWS, PALETTES, Parameters


def one_of(names: Any, initial: str) -> forms.ChoiceField:
    choices = [(name, name) for name in names]
    return forms.ChoiceField(choices=choices, initial=initial, widget=forms.RadioSelect)


def number(least: int, most: int, step: int, initial: int) -> forms.IntegerField:
    slider = forms.NumberInput({"type": "range", "step": step})
    return forms.IntegerField(min_value=least, max_value=most, initial=initial, widget=slider)


class ParametersForm(forms.Form):
    """The parameters of a picture, with bounds that keep the work small."""

    palette = one_of(PALETTES, Parameters.palette)
    flow = one_of(FLOWS, Parameters.flow)
    density = number(10, 80, 5, Parameters.density)
    detail = number(20, 240, 10, Parameters.detail)
    seed = forms.IntegerField(min_value=1, max_value=999_999, initial=Parameters.seed)

    def clean(self) -> None:
        if not self.errors:
            self.parameters = Parameters(**self.cleaned_data)

    @property
    def problem(self) -> str:
        """What is wrong first."""
        name, errors = next(iter(self.errors.items()))
        return f"{self[name].label}: {errors[0]}"
