"""Plug-in files: Python files that register parts, run on request."""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

from mmfusion import registry


def import_files(
    paths: Iterable[str | Path],
    *,
    allowed: Callable[[str, str], bool] | None = None,
    named_by: str = "",
) -> dict[str, str]:
    """Run Python files, for the parts that they register.

    A file that this process has run or imported already, under whatever name, is not run again.

    Args:
        paths: Each outside any package, with builders under a ``register`` decorator.
        allowed: Whether a file may be run, given its place, without links, and the SHA-256 of its content; None: all
            may, since the user names them.
        named_by: Who names them where they need to be allowed, for the message.

    Returns:
        By place, the SHA-256 of each file that was run.

    Raises:
        FileNotFoundError: If a file is not there.
        PluginError: If one may not be run, then none of them is; or one fails: what it had registered is forgotten.
    """
    places = [Path(path).absolute() for path in paths]
    if absent := [str(path) for path in places if not path.is_file()]:
        raise FileNotFoundError(f"no plug-in {', '.join(absent)}: give its place by plugins=...")
    # Read once, so that the digest is of the bytes that are executed.
    sources = {path: path.read_bytes() for path in places if not _is_loaded(path)}
    digests = {path: hashlib.sha256(source).hexdigest() for path, source in sources.items()}
    refused = [path for path, digest in digests.items() if allowed and not allowed(str(path.resolve()), digest)]
    if refused:
        files = ", ".join(f"{path} (SHA-256 {digests[path]})" for path in refused)
        raise registry.PluginError(
            f"{named_by} names a plug-in that you have not allowed: {files}. A plug-in is code that runs with your "
            f"rights: read it, and if you trust it, allow it by plugins={list(map(str, places))}"
        )
    done = {}
    for path, source in sources.items():
        if not _is_loaded(path):  # two links to one file
            resolved = str(path.resolve())
            _run_file(path, source, f"mmfusion_plugin_{hashlib.sha256(resolved.encode()).hexdigest()[:16]}")
            done[resolved] = digests[path]
    return done


def _is_loaded(path: Path) -> bool:
    """Whether some module is from that file; the process's own script is one."""
    wanted = path.stat()
    for module in list(sys.modules.values()):
        # Not getattr: asked for what it lacks, a lazy module imports what it stands for.
        file = getattr(module, "__dict__", {}).get("__file__")
        try:
            if isinstance(file, str) and os.path.samestat(os.stat(file), wanted):
                return True
        except (OSError, ValueError):
            continue  # a frozen module, or a file that is gone
    return False


class _Source(SourceFileLoader):
    """Runs the text that was read: neither byte code that lies next to the file, nor what the file has become since."""

    def __init__(self, name: str, path: Path, source: bytes) -> None:
        super().__init__(name, str(path))
        self._text = source

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self._text, self.path)
        return code


def _run_file(path: Path, source: bytes, name: str) -> None:
    if path.suffix != ".py":
        raise registry.PluginError(f"the plug-in {path} must be a Python file, with a name that ends in .py")
    loader = _Source(name, path, source)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise registry.PluginError(f"the plug-in {path} cannot be run by Python's import system")
    registries = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    before = [dict(parts._builders) for parts in registries]
    module = importlib.util.module_from_spec(spec)
    # Known before it runs, as an import does it: its classes are looked up by the module's name.
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    # Foreign code, as an entry point's: whatever it raises is reported as its own failure.
    except Exception as error:
        del sys.modules[name]
        for parts, builders in zip(registries, before, strict=True):
            parts._builders.clear()
            parts._builders.update(builders)
        raise registry.PluginError(f"the plug-in {path} fails to load: {type(error).__name__}: {error}") from error
