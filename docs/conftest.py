"""Doctests of this folder are those of the Markdown pages; its Python files need Sphinx."""

collect_ignore_glob = ["*.py", "_build/*", "api/*", "gallery/*", "extensions/*"]
