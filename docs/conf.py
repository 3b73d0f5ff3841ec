"""Sphinx configuration."""

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import django
from django.conf import settings

import channels

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

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_static"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# The page of benchmark results is written by the benchmarks, so it may not be there.
suppress_warnings = ["toc.empty_glob"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # ASGI callables spelled out would bury the names
autodoc_default_options = {"members": True, "show-inheritance": True}

html_theme = "furo"
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


def setup(app):
    app.connect("source-read", show_file_names)
