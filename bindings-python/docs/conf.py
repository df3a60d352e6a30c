"""How Sphinx builds the reference and the cookbook: `make python-docs`. Warnings are errors."""

import builtins

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import nlxtp

project = "nlxtp"
author = "the nlXTP developers"
version = release = nlxtp.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_theme_options = {"description": "Files and scripts into guests, without their network"}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
python_use_unqualified_type_names = True

# What links to headings lead to.
myst_heading_anchors = 3

# The cookbook's links to the repository's other documents stay text; `make check` looks after links.
suppress_warnings = ["myst.xref_missing"]

# Whatever is named must be documented, unless it is Python's.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(asyncio|collections|concurrent|enum|logging|os|pathlib|types|typing)\..*"),
    (r"py:.*", "|".join(name for name in dir(builtins))),
]

EXCEPTIONS = [value for value in vars(nlxtp).values() if isinstance(value, type) and issubclass(value, nlxtp.Error)]
for exception in EXCEPTIONS:
    # Where Sphinx finds what is said of their attributes.
    exception.__module__ = "nlxtp._errors"


def list_exceptions(_app: Sphinx, page: str, source: "list[str]") -> None:
    """Ends the page of exceptions with all that there are."""
    if page == "errors":
        names = sorted(exception.__name__ for exception in EXCEPTIONS if exception is not nlxtp.Error)
        source[0] += "".join(f"\n.. autoexception:: {name}\n   :members:\n   :show-inheritance:\n" for name in names)


def builtin_bytes(_app: Sphinx, document: nodes.document) -> None:
    """A type ``bytes`` is Python's, and not an attribute of that name."""
    for reference in list(document.findall(addnodes.pending_xref)):
        if reference.get("reftarget") == "bytes":
            reference.replace_self(nodes.Text("bytes"))


def setup(app: Sphinx) -> None:
    app.connect("source-read", list_exceptions)
    app.connect("doctree-read", builtin_bytes)
