"""Builds the API reference, a page per public module: python .ci/reference.py DIRECTORY.

Fails if pdoc warns, or if a public class, function or method has no docstring.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pdoc

import ft_tf


def undocumented(module: pdoc.doc.Module) -> Iterator[str]:
    """Public classes and functions of a module, and methods, without a docstring."""
    for member in module.members.values():
        parts = member.own_members if isinstance(member, pdoc.doc.Class) else ()
        for part in (member, *parts):
            is_code = isinstance(part, pdoc.doc.Class | pdoc.doc.Function)
            if is_code and not part.name.startswith("_") and not part.docstring:
                yield f"{part.fullname} has no docstring"


def main(directory: str) -> None:
    """Builds the pages."""
    specs, problems = ["ft_tf"], []
    for part in ft_tf.__all__:
        module = importlib.import_module(f"ft_tf.{part}")
        for name in getattr(module, "__all__", ()):
            vars(module).setdefault(name, getattr(module, name))  # some are imported at first use
            full = f"{module.__name__}.{name}"
            if callable(vars(module)[name]) and hasattr(module, "__path__"):
                # A function's own module, such as attacks/autoattack.py, needs no page.
                specs += [f"!{full}$"] * bool(importlib.util.find_spec(full))
        problems += undocumented(pdoc.doc.Module(module))
    pdoc.render.configure(docformat="google", show_source=False)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module="pdoc")
        pdoc.pdoc(*specs, output_directory=Path(directory))
    problems += [str(warning.message) for warning in found]
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main(*sys.argv[1:])
