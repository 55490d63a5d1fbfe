"""API pages: what a package exports comes first, then the modules behind it.

A page lists its packages, ``::: mmfusion.losses`` one per line, in the order to read them. A package with ``__all__``
becomes a table of its public names, their descriptions, and at the end its modules with what else they define. Another
module is shown as it is.
"""

import re
from typing import Any

import griffe

DIRECTIVE = re.compile(r"^::: (?P<path>mmfusion[\w.]*)$", re.MULTILINE)


def _defined(module: griffe.Module) -> list[griffe.Object]:
    """Classes and functions of a module, and documented constants, that are not private."""
    return [
        item
        for item in module.members.values()
        if isinstance(item, griffe.Object) and not item.is_module and not item.name.startswith("_") and item.docstring
    ]


def _exported(package: griffe.Module) -> dict[str, griffe.Object]:
    """Public names, classes first, to what they name, each followed to where it is defined."""
    exported: dict[str, griffe.Object] = {}
    for name in map(str, package.exports or ()):
        member = package.members.get(name)
        item = member.final_target if isinstance(member, griffe.Alias) else member
        if item is not None and not item.is_module and item.path.startswith("mmfusion."):
            exported[name] = item
    return dict(sorted(exported.items(), key=lambda pair: (not pair[1].is_class, pair[0].lower())))


def _modules(package: griffe.Module) -> list[griffe.Module]:
    """The modules of a package, without those that are packages with exports of their own."""
    found = []
    for module in package.members.values():
        if isinstance(module, griffe.Module) and not module.name.startswith("_") and not module.exports:
            found += [module, *_modules(module)]
    return found


def _link(name: str, item: griffe.Object) -> str:
    return f'<autoref identifier="{item.path}" optional><code>{name}</code></autoref>'


def _summary(item: griffe.Object) -> str:
    text = re.sub(r"^```python\n.*?```\n+", "", item.docstring.value if item.docstring else "", flags=re.DOTALL)
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def _directive(path: str, names: list[str]) -> str:
    members = f"[{', '.join(names)}]" if names else "false"
    return f"::: {path}\n    options:\n      members: {members}\n      members_order: alphabetical\n"


class Pages:
    """The text of each API page, from the package as mkdocstrings has loaded it."""

    def __init__(self, package: griffe.Module) -> None:
        self.package = package
        self.home: dict[str, str] = {}  # of each exported object, the package that describes it
        for path in self._packages(package):
            for item in _exported(self.find(path)).values():
                paths = [path, self.home.get(item.path, path)]
                # One that it is defined in, if any; of several, the outermost.
                self.home[item.path] = min(paths, key=lambda path: (not item.path.startswith(f"{path}."), len(path)))

    def _packages(self, package: griffe.Module) -> list[str]:
        inner = [module for module in package.members.values() if isinstance(module, griffe.Module)]
        paths = [path for module in inner for path in self._packages(module)]
        return [package.path, *paths] if package.exports and package is not self.package else paths

    def find(self, path: str) -> griffe.Module:
        """The module at a full path."""
        names = path.split(".")[1:]
        item: Any = self.package[names] if names else self.package
        return item

    def write(self, text: str) -> str:
        """A page's Markdown with its directives expanded."""
        paths = [match["path"] for match in DIRECTIVE.finditer(text)]
        tables, described, behind = [], [], []
        for path in paths:
            module = self.find(path)
            exported = _exported(module)
            if not exported:
                names = [item.name for item in _defined(module) if item.path not in self.home]
                behind.append(_directive(path, names))
                continue
            rows = [f"| {_link(name, item)} | {_summary(item)} |\n" for name, item in exported.items()]
            tables.append(f"### From `{path}`\n\n| name | |\n|---|---|\n{''.join(rows)}")
            here = [name for name, item in exported.items() if self.home.get(item.path) == path]
            described.append(_directive(path, here))
            for inner in _modules(module) if module is not self.package else ():
                if inner.path not in paths:
                    names = [item.name for item in _defined(inner) if item.path not in self.home]
                    if names or inner.docstring:
                        behind.append(_directive(inner.path, names))
        head = DIRECTIVE.sub("", text).rstrip()
        if tables:
            tables.insert(0, "## Public names")
        if described and behind:
            behind.insert(0, "## Modules behind them\n\nWhat else they define, for those who read or extend the code.")
        return "\n\n".join([head, *tables, *described, *behind]) + "\n"


_pages: dict[int, Pages] = {}


def on_page_markdown(markdown: str, *, page: Any, config: Any, **kwargs: Any) -> str:
    """Expand the directives of the pages below ``api/``."""
    if not page.file.src_uri.startswith("api/"):
        return markdown
    plugin = config.plugins["mkdocstrings"]
    if id(plugin) not in _pages:
        handler = plugin.get_handler("python")
        _pages.clear()
        _pages[id(plugin)] = Pages(handler.collect("mmfusion", handler.get_options({})))
    return _pages[id(plugin)].write(markdown)
