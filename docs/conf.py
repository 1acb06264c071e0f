"""The documentation site: ``sphinx-build -W --keep-going -j 2 -b html docs docs/_build/html``.

Nothing is read from a network: inventories are compiled from a list, formulas become MathML.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

import inventories

import skvae
from skvae.contract.documentation import SITE

project = "skvae"
author = "skvae developers"
copyright = "skvae developers"
version = release = skvae.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "reference",
]
exclude_patterns = ["_build", "sg_execution_times.rst", "**/*.ipynb", "gallery/GALLERY_HEADER.rst"]
nitpicky = True
nitpick_ignore_regex = [("py:obj", r"\w+_")]  # fitted attributes that are properties
default_role = "name"
toc_object_entries_show_parents = "hide"

autosummary_generate = False
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_use_plots = False
intersphinx_mapping = inventories.compile_to(
    HERE / "_build" / "inventories", HERE / "inventories" / "names.txt"
)

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/(plot_\w+|quickstart|choose_a_model)\.py$",
    "ignore_pattern": r"/_\w*\.py$",
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("skvae",),
    "reference_url": {"skvae": None},
    "reset_modules": ("matplotlib", "gallery.hold_global_state"),
    "reset_modules_order": "both",
    "min_reported_time": 5,
    "show_memory": False,
    "write_computation_times": False,
    "parallel": True,  # as many as sphinx's -j says
    "download_all_examples": False,
    "remove_config_comments": True,
    "within_subsection_order": "ExampleTitleSortKey",
    "matplotlib_animations": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "skvae"
html_baseurl = SITE
html_static_path = ["_static"]
html_css_files = ["skvae.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
_single = "index benchmarks changelog contributing mathematics scale stability testing".split()
html_sidebars = {page: [] for page in _single}
html_theme_options = {
    "logo": {"text": "skvae"},
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
