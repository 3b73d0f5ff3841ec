"""What people may enter."""

from django import forms

from .models import Document


class DocumentForm(forms.ModelForm):
    """Begins a document. Names that differ only in case or spaces are the same name."""

    class Meta:
        model = Document
        fields = ("name",)

    def clean_name(self) -> str:
        name = " ".join(self.cleaned_data["name"].split())
        if Document.objects.filter(name__iexact=name).exists():
            raise forms.ValidationError("There is already a document with this name.")
        return name
