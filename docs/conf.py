"""Sphinx configuration."""

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import django
from django.conf import settings
from sphinx.util.typing import stringify_annotation

import channels
from channels import consumer, routing

# Some of the modules documented from their docstrings want configured settings when imported.
os.environ.pop("DJANGO_SETTINGS_MODULE", None)
settings.configure(
    INSTALLED_APPS=[
        "channels",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ]
)
django.setup()

project = "Channels"
author = "the Channels founders"
release = version = channels.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "_static"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# The page of benchmark results is written by the benchmarks, so it may not be there.
suppress_warnings = ["toc.empty_glob"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"show-inheritance": True}
autosummary_generate = False  # each class has a page of its own under reference/api
maximum_signature_line_length = 88

html_theme = "furo"
html_show_copyright = False
html_title = f"Channels {version}"
html_static_path = ["_static"]
html_css_files = ["channels.css"]

FILE_BLOCK = re.compile(
    r"^<!-- (?:file|edit|append): (?P<path>\S+) -->\n```(?P<language>\w+)\n", re.MULTILINE
)


def show_file_names(app, docname, source):
    """Give each block that is marked as a file of the reader's project its name as caption."""
    source[0] = FILE_BLOCK.sub(
        lambda block: f"```{{code-block}} {block['language']}\n:caption: {block['path']}\n\n",
        source[0],
    )


# The shapes of the ASGI interface, which spelled out would bury the names.
ASGI_TYPES = {
    stringify_annotation(annotation, "smart"): name
    for name, annotation in (
        ("ASGIApplication", routing.ASGIApplication),
        ("Receive", consumer.Receive),
        ("Send", consumer.Send),
        ("Scope", consumer.Scope),
    )
}


def name_asgi_types(app, what, name, obj, options, signature, returns):
    """Write ``Scope`` for ``MutableMapping[str, Any]``, and so on."""
    return (shorten(signature), shorten(returns)) if signature else None


def shorten(text):
    """``text`` of a signature with the names of ASGI's types."""
    if text:
        for spelled, name in ASGI_TYPES.items():
            text = text.replace(f"message: {spelled}", "message: Message").replace(spelled, name)
    return text


def setup(app):
    app.connect("source-read", show_file_names)
    app.connect("autodoc-process-signature", name_asgi_types)
