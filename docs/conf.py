"""The documentation's settings: `make docs` builds it into build/docs.

The pages are Markdown that also reads well on a code host, and whose examples doctest runs. So they
link to files, as ``../CHANGELOG.md`` or ``../lstmcore/training.py``, where this site has pages, and
an example ends with an empty line. `adapt` changes both.
"""

import posixpath
import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

import lstmcore

project = "lstmcore"
author = copyright = "The lstmcore developers"
version = release = lstmcore.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["gallery/*.ipynb"]
templates_path = ["_templates"]

# ------------------------------------------------------------------------------------- pages

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# Files outside of this folder, and the pages that stand for them.
PAGES = {
    "../README.md": "index.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../examples/gallery": "gallery/index.rst",
    "../lstmcore/losses/__init__.py": "api/own_loss.md",
    "../lstmcore/losses/_function.py": "api/generated/lstmcore.losses.FunctionLoss.rst",
    "../lstmcore/losses/_loss.py": "api/generated/lstmcore.losses.Loss.rst",
    "../lstmcore/network.py": "api/generated/lstmcore.Network.rst",
    "../lstmcore/training.py": "api/generated/lstmcore.fit.rst",
    "../lstmcore/_minimize.py": "api/generated/lstmcore.minimize.rst",
}
LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)\)")
SCRIPT = re.compile(r"\.\./examples/gallery/(\w+)\.py")


END_OF_EXAMPLE = re.compile(r"\n\n```$", flags=re.MULTILINE)


def adapt(app, docname, source):
    """Lead links to files to the pages that stand for them; trim the examples."""
    folder = posixpath.dirname(docname)

    def page(match):
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        if script := SCRIPT.fullmatch(target):
            return f"](/gallery/{script[1]}.rst)"
        return f"](/{PAGES[target]})" if target in PAGES else match[0]

    source[0] = END_OF_EXAMPLE.sub("\n```", LINK.sub(page, source[0]))


class LinkCode(SphinxPostTransform):
    """Make links of `lc.fit` and `Network.vjp`, as they stand in the text of the pages."""

    default_priority = 400
    name = re.compile(r"(?:lc\.|lstmcore\.)?([A-Za-z][\w.]*)(?:\(.*\))?", flags=re.DOTALL)

    def run(self, **kwargs):
        objects = self.env.get_domain("py").objects
        for literal in list(self.document.findall(nodes.literal)):
            match = self.name.fullmatch(literal.astext())
            entry = objects.get(f"lstmcore.{match[1]}") if match else None
            within = isinstance(literal.parent, (nodes.reference, nodes.title))
            if entry is None or within or entry.objtype == "module":
                continue
            page = self.app.builder.get_relative_uri(self.env.docname, entry.docname)
            link = nodes.reference("", "", refuri=f"{page}#{entry.node_id}", internal=True)
            literal.replace_self(link)
            link += literal


# ---------------------------------------------------------------------------------- reference

autosummary_generate = True
default_role = "autolink"  # `name` is a link where it is the name of something
nitpick_ignore_regex = [("py:obj", r"(?!lstmcore\.).*")]  # and only emphasis where it is not
autosummary_context = {
    # Classes whose methods are explained where they are inherited from, or not meant for users.
    "brief": [
        "lstmcore.datasets.JapaneseVowels",
        "lstmcore.datasets.Sunspots",
        "lstmcore.losses.BinaryCrossEntropy",
        "lstmcore.losses.CrossEntropy",
        "lstmcore.losses.FunctionLoss",
        "lstmcore.losses.Huber",
        "lstmcore.losses.Mixture",
        "lstmcore.losses.Poisson",
        "lstmcore.losses.Quantile",
        "lstmcore.losses.SquaredError",
        "lstmcore.losses.TermTargets",
    ],
    # Methods without an underscore that other rooms of the package need, and users do not.
    "inside": {
        "lstmcore.Network": [
            "check_checkpoint",
            "check_examples",
            "check_state",
            "check_truncate",
            "constant_loss",
            "evaluate",
            "exact",
            "least_loss",
        ],
        "lstmcore.Objective": ["constant_loss", "least_loss"],
    },
}
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings say more
numpydoc_show_class_members = False  # the template lists them, each with its docstring

# ------------------------------------------------------------------------------------ gallery

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "only_warn_on_example_error": False,
    "abort_on_example_error": True,
    "doc_module": ("lstmcore",),
    "backreferences_dir": "api/backreferences",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 10,
}

# --------------------------------------------------------------------------------------- HTML

html_theme = "pydata_sphinx_theme"
html_title = "lstmcore"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "show_nav_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
linkcheck_timeout = 20


FILE = re.compile(r"\bdocs/(\w+)\.md")


def link_files(app, what, name, obj, options, lines):
    """Lead files that docstrings name to their pages."""
    lines[:] = [FILE.sub(r":doc:`/\1`", line) for line in lines]


OF_SCIKIT_LEARN = re.compile(r"set_\w+_request|get_metadata_routing|set_output")


def skip_foreign(app, what, name, obj, skip, options):
    """Leave out methods that scikit-learn makes for every estimator and explains itself."""
    return True if OF_SCIKIT_LEARN.fullmatch(name) else None


def setup(app):
    app.add_post_transform(LinkCode)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-docstring", link_files, priority=400)
    app.connect("source-read", adapt)
