"""How Sphinx makes the site: `sphinx-build docs site`, with the extra `docs` installed. Nothing is fetched.

The pages are plain Markdown, to be read on a code-hosting site as well. What the site has besides is made by docs/_ext/:
the sections from index.md, the landing page from README.md, the reference from docstrings and from the command line's
parser, the gallery from the register of figures.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import nlicl  # noqa: E402

project = "nlicl"
author = copyright = "The nlicl authors"
version = release = nlicl.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "formulas",
    "api",
    "commands",
    "gallery",
    "pages",  # the last of them: its sections list what the others have written
]
exclude_patterns = ["_ext", "**.ipynb_checkpoints"]
nitpicky = True
nitpick_ignore_regex = [("py:class", r"numpy\..*")]

myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks come with their outputs
suppress_warnings = ["myst.header"]  # a generated page of figures goes from one level to the next but one

numpydoc_show_class_members = False
numpydoc_xref_param_type = False
autodoc_typehints = "none"  # the docstrings' sections say it, in words
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_use_type_comments = False  # there are none, and to look for them takes a while
autosummary_generate = False
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = "nlicl"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["nlicl.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "nlicl"},
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "show_prev_next": True,
    "navigation_depth": 3,
    "collapse_navigation": True,
    "pygments_light_style": "friendly",
    "pygments_dark_style": "monokai",
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "sections/gallery": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"
