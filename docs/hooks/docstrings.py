"""Docstrings for the API pages: Sphinx roles become links, and each public name shows how to import it."""

import builtins
import importlib.util
import re
from collections.abc import Iterator
from typing import Any

import griffe

_LOGGER = griffe.get_logger("mmfusion.docs")
ROLE = re.compile(r":(?:py:)?(?:class|func|meth|mod|data|attr|exc|obj|const):`(?P<hidden>~?)(?P<target>[^`]+)`")


def walk(item: griffe.Object) -> Iterator[griffe.Object]:
    """The object and everything that is defined in it; what is imported there belongs to another."""
    yield item
    for member in list(item.members.values()):
        if isinstance(member, griffe.Object):
            yield from walk(member)


def public_paths(package: griffe.Module) -> dict[str, str]:
    """Of each name that a package exports: canonical path to the shortest path that it is imported by."""
    paths: dict[str, str] = {}
    for module in walk(package):
        if not isinstance(module, griffe.Module):
            continue
        for name in map(str, module.exports or ()):
            if name in module.members:
                member = module.members[name]
                path = f"{module.path}.{name}"
                target = member.target_path if isinstance(member, griffe.Alias) else path
                paths[target] = min(path, paths.get(target, path), key=lambda path: (path.count("."), path))
    # An export may itself be imported from where it is exported: follow it to where it is defined.
    for target in list(paths):
        end, seen = target, {target}
        while (found := _find(package, end)) is not None and isinstance(found, griffe.Alias):
            end = found.target_path
            if end in seen:
                break
            seen.add(end)
        if end != target:
            paths[end] = min(paths[target], paths.get(end, paths[target]), key=lambda path: (path.count("."), path))
    return paths


def _find(package: griffe.Module, path: str) -> griffe.Object | griffe.Alias | None:
    item: Any = package
    for name in path.split(".")[1:]:
        if isinstance(item, griffe.Alias):
            item = _find(package, item.target_path)
        if item is None or name not in item.members:
            return None
        item = item.members[name]
    return item if path.split(".")[0] == package.name else None


def _inherited(package: griffe.Module, item: griffe.Object, name: str, depth: int = 0) -> str | None:
    """The path of a member of a class or of one of its bases."""
    if name in item.members:
        return f"{item.path}.{name}"
    for base in item.bases if isinstance(item, griffe.Class) and depth < 8 else ():
        path = base if isinstance(base, str) else base.canonical_path
        found = _find(package, path)
        if isinstance(found, griffe.Alias):
            found = _find(package, found.target_path)
        if isinstance(found, griffe.Class):
            inherited = _inherited(package, found, name, depth + 1)
            if inherited is not None:
                return inherited
    return None


class Roles:
    """Resolves what a role names in the scope of the object whose docstring it stands in."""

    def __init__(self, package: griffe.Module) -> None:
        self.package = package
        self.by_name: dict[str, list[str]] = {}
        for item in walk(package):
            self.by_name.setdefault(item.name, []).append(item.path)

    def resolve(self, target: str, scope: griffe.Object) -> str | None:
        """Full path of a target, as written or as seen from the scope outwards; None if nothing is named so."""
        if target.split(".")[0] == self.package.name:
            return target if _find(self.package, target) is not None else None
        first, _, rest = target.lstrip(".").partition(".")
        item: griffe.Object | None = scope
        while item is not None and not target.startswith("."):
            path = _inherited(self.package, item, first)
            if path is not None:
                for name in rest.split(".") if rest else ():
                    owner = _find(self.package, path) if path else None
                    if isinstance(owner, griffe.Alias):
                        owner = _find(self.package, owner.target_path)
                    path = _inherited(self.package, owner, name) if isinstance(owner, griffe.Object) else None
                if path is not None:
                    return path
            item = item.parent  # type: ignore[assignment]  # the loop ends at None
        # Else by its end, where that is unique.
        name = target.lstrip(".")
        ends = [path for path in self.by_name.get(name.split(".")[-1], []) if f".{path}".endswith(f".{name}")]
        return ends[0] if len(ends) == 1 else None

    def _foreign(self, target: str) -> bool:
        """Whether a name belongs to Python or to another package."""
        top, _, rest = target.partition(".")
        if not rest:
            return hasattr(builtins, top)
        return bool(top) and top != self.package.name and importlib.util.find_spec(top) is not None

    def replace(self, text: str, scope: griffe.Object) -> str:
        """The text with each role as a link; a name of another package as code alone."""

        def link(match: re.Match[str]) -> str:
            title, _, target = match["target"].strip().removesuffix(">").rpartition(" <")  # or the target alone
            shown = title or (target.rsplit(".", 1)[-1] if match["hidden"] else target.lstrip("."))
            path = self.resolve(target, scope)
            if path is None:
                if not self._foreign(target):
                    _LOGGER.warning(f"{scope.path}: nothing is named {match[0]}")
                return f"`{shown}`"
            return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'

        return ROLE.sub(link, text)


class Docstrings(griffe.Extension):
    """Rewrites the docstrings of a package once it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Replace the roles, and put the line that imports a public class or function above its docstring."""
        roles = Roles(pkg)
        public = public_paths(pkg)
        for item in walk(pkg):
            if item.docstring is None:
                continue
            item.docstring.value = roles.replace(item.docstring.value, item)
            if item.is_module or item.parent is None or not item.parent.is_module:
                continue
            module, _, name = public.get(item.path, item.path).rpartition(".")
            item.docstring.value = f"```python\nfrom {module} import {name}\n```\n\n{item.docstring.value}"
