"""The pages: choose or begin a document, and the document itself."""

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.urls import reverse
from django.views.generic import CreateView, DetailView

from .forms import DocumentForm
from .models import LONGEST_TEXT, Document


class Documents(LoginRequiredMixin, CreateView):
    """All documents, and a form that begins another one."""

    template_name = "editor/documents.html"
    form_class = DocumentForm

    def get_success_url(self) -> str:
        return reverse("document", args=[self.object.pk])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        documents = Document.objects.only("name", "beginning", "changed_at")
        return super().get_context_data(documents=documents, **kwargs)


class DocumentPage(LoginRequiredMixin, DetailView):
    """One document. Its text comes through the WebSocket."""

    template_name = "editor/document.html"
    queryset = Document.objects.only("name")
    extra_context = {"longest_text": LONGEST_TEXT}
