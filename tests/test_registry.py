import importlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import mmfusion as mmf
from mmfusion.experiments.plugin_files import import_files
from mmfusion.registry import PluginError, Registry, check_options


@pytest.fixture
def things() -> Registry:
    registry = Registry("thing", "mmfusion.tokens")  # any package that imports and has no plug-ins

    @registry.register("alpha_one")
    def alpha_one(*args: Any, size: int = 1, depth: int = 2) -> tuple[Any, ...]:
        return (*args, size, depth)

    @registry.register("alpha_two")
    def alpha_two() -> str:
        return "two"

    return registry


def test_create_by_name(things: Registry) -> None:
    assert things.create("alpha_one", "x", depth=5) == ("x", 1, 5)
    assert things.create("alpha_two") == "two"


def test_hyphen_is_read_as_underscore(things: Registry) -> None:
    """As names were written once; a name that has a hyphen keeps it."""
    things.register("gamma-one")(lambda: "hyphen")
    things.register("gamma_one")(lambda: "underscore")
    assert things.create("alpha-two") == "two"
    assert things.options("alpha-one").keys() == {"size", "depth"}
    assert things.create("gamma-one") == "hyphen"
    with pytest.raises(ValueError, match="unknown thing 'alpha-three'"):
        things.get("alpha-three")


def test_options_and_defaults(things: Registry) -> None:
    assert {name: p.default for name, p in things.options("alpha_one").items()} == {"size": 1, "depth": 2}
    assert things.defaults("alpha_one") == {"size": 1, "depth": 2}


def test_required_option_has_no_default(things: Registry) -> None:
    @things.register("needy")
    def needy(*, root: str, depth: int = 2) -> tuple[str, int]:
        return root, depth

    assert things.defaults("needy") == {"depth": 2}


def test_duplicate_name_raises(things: Registry) -> None:
    with pytest.raises(ValueError, match=r"thing 'alpha_one' is registered already, by .*alpha_one: choose another"):
        things.register("alpha_one")(lambda: None)
    assert things.create("alpha_one") == (1, 2)


def cell(things: Registry, source: str, module: str, file: str) -> None:
    """Run code as a notebook does: each time anew, in one module."""
    exec(compile(textwrap.dedent(source), file, "exec"), {"__name__": module, "things": things})


BETA = """
    @things.register("beta")
    def {function}(*, size={size}):
        return size
"""


@pytest.mark.parametrize(
    ("module", "file"),
    [("__main__", "<cell 1>"), ("one_module", __file__)],
    ids=["in a notebook", "of one file"],
)
def test_redefined_builder_replaces_itself(things: Registry, module: str, file: str) -> None:
    for size in (1, 2):
        cell(things, BETA.format(function="beta", size=size), module, file)
        assert things.create("beta") == size


@pytest.mark.parametrize(
    ("function", "module", "file"),
    [
        ("other", "__main__", "<cell 1>"),
        ("other", "__main__", __file__),
        ("beta", "another_module", "<cell 1>"),
        ("beta", "another_module", str(Path(__file__).with_name("another.py"))),
    ],
)
def test_other_builder_of_same_name_raises(things: Registry, function: str, module: str, file: str) -> None:
    cell(things, BETA.format(function="beta", size=1), "__main__", "<cell 1>")
    with pytest.raises(ValueError, match=r"thing 'beta' is registered already, by __main__.beta: choose another"):
        cell(things, BETA.format(function=function, size=2), module, file)
    assert things.create("beta") == 1


def test_second_lambda_of_same_name_raises(things: Registry) -> None:
    things.register("beta")(lambda: 1)
    with pytest.raises(ValueError, match=r"thing 'beta' is registered already"):
        things.register("beta")(lambda: 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alpha_ona", r"unknown thing 'alpha_ona'; did you mean 'alpha_one'"),
        ("zzz", r"unknown thing 'zzz'; there are: alpha_one, alpha_two"),
    ],
)
def test_unknown_name_raises(things: Registry, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        things.create(name)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("sice", r"thing 'alpha_one' has no option 'sice'; did you mean 'size'\? Valid: depth, size"),
        ("zzz", r"thing 'alpha_one' has no option 'zzz'. Valid: depth, size"),
    ],
)
def test_unknown_option_raises(things: Registry, option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        things.create("alpha_one", **{option: 1})


def test_unknown_option_of_builder_without_options_raises() -> None:
    with pytest.raises(ValueError, match=r"has no option 'a'. Valid: none"):
        check_options("it", lambda: None, {"a": 1})


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["alpha_one", "alpha_two"]),
        ("*one", ["alpha_one"]),
        ("alpha_?wo", ["alpha_two"]),
        ("beta*", []),
    ],
)
def test_list_by_pattern(things: Registry, pattern: str, expected: list[str]) -> None:
    assert things.list(pattern) == expected


def test_contains_name(things: Registry) -> None:
    assert "alpha_one" in things
    assert "beta" not in things


def test_built_in_names_are_listed() -> None:
    assert {"cfcml", "concat", "image", "tabular"} <= set(mmf.registry.models.list())
    own = {"convnet", "res_mamba", "resnet3d10", "resnet3d18", "resnet3d34", "tiny_convnet"}
    assert own <= set(mmf.registry.backbones.list())
    assert "pyramid" in mmf.registry.image_tokenizers
    assert "feature" in mmf.registry.tabular_tokenizers
    assert "conv" in mmf.registry.compressions
    assert "crossmodal_enhancement" in mmf.registry.token_fusions
    assert "granularity_merge" in mmf.registry.poolings
    anchors = ["crossmodal_anchor", "hierarchical_anchor", "sample_anchor", "unimodal_anchor"]
    assert mmf.registry.losses.list("*_anchor") == anchors


MINE = """
    from dataclasses import dataclass

    from mmfusion.registry import models, poolings

    @dataclass
    class Thing:
        size: int

    @models.register("{name}")
    def build(spec, *, size=8):
        return Thing(size)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file, and registries that forget it after the test."""
    for one in (mmf.registry.models, mmf.registry.poolings):
        one.list()
        monkeypatch.setattr(one, "_builders", dict(one._builders))
    path = tmp_path / "my models.py"
    path.write_text(textwrap.dedent(MINE.format(name="mine")))
    return path


def test_plugin_file_is_run_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its names are registered, it is run once however it is named, and its classes are importable."""
    import_files([file])
    thing = mmf.registry.models.create("mine", None, size=3)
    assert thing.size == 3
    assert sys.modules[type(thing).__module__].Thing is type(thing)
    monkeypatch.chdir(file.parent)
    import_files([file.name, file])
    with pytest.raises(ValueError, match="has no option 'sise'; did you mean 'size'"):
        mmf.registry.models.create("mine", None, sise=3)


def test_imported_plugin_is_not_run_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its author does in Python, before loading a run that names the file."""
    module = file.rename(file.with_name("models_of_mine.py"))
    link = file.with_name("link.py")
    link.symlink_to(module)
    monkeypatch.syspath_prepend(file.parent)
    try:
        imported = importlib.import_module("models_of_mine")
        builder = mmf.registry.models.get("mine")
        import_files([module, link])
        assert mmf.registry.models.get("mine") is builder is imported.build
    finally:
        sys.modules.pop("models_of_mine", None)


def test_plugin_can_be_imported_after_it_ran(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = file.rename(file.with_name("models_of_mine.py"))
    import_files([module])
    monkeypatch.syspath_prepend(file.parent)
    try:
        imported = importlib.import_module("models_of_mine")
        assert mmf.registry.models.get("mine") is imported.build
    finally:
        sys.modules.pop("models_of_mine", None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (MINE.format(name="mine") + "    poolings.register('r')(Thing)\n    1 / 0", "fails to load: ZeroDivisionError"),
        (MINE.format(name="concat"), "fails to load: ValueError: model 'concat' is registered already"),
        ("    def (", "fails to load: SyntaxError"),
    ],
)
def test_failing_plugin_registers_nothing(file: Path, source: str, message: str) -> None:
    before = mmf.registry.models.list(), mmf.registry.poolings.list()
    file.write_text(textwrap.dedent(source))
    for _ in range(2):
        with pytest.raises(PluginError, match=message):
            import_files([file])
    assert (mmf.registry.models.list(), mmf.registry.poolings.list()) == before
    file.write_text(textwrap.dedent(MINE.format(name="mine")))
    import_files([file])
    assert "mine" in mmf.registry.models


def test_missing_or_non_python_plugin_raises(file: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no plug-in .*nowhere.py: give its place by plugins="):
        import_files([file.with_name("nowhere.py")])
    other = file.rename(file.with_suffix(".txt"))
    with pytest.raises(PluginError, match="must be a Python file"):
        import_files([other])


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed distributions: a good plug-in, a broken one, one that is no builder, and a name twice."""

    def install(distribution: str, module: str, source: str, points: str) -> None:
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[mmfusion.models]\n{points}\n")

    good = """
        import mmfusion as mmf

        def build(spec, *, dim=8):
            return mmf.create_model("concat", spec, dim=dim)
    """
    install("good_plugin", "good_plugin_module", good, "third_party = good_plugin_module:build")
    install("bad_plugin", "bad_plugin_module", "import a_module_that_is_not_there", "broken = bad_plugin_module:build")
    half = """
        from mmfusion.registry import models

        @models.register("half")
        def build(spec):
            raise AssertionError

        raise RuntimeError("broken after it was registered")
    """
    install("half_plugin", "half_plugin_module", half, "half = half_plugin_module:build")
    install("odd_plugin", "odd_plugin_module", "build = 3", "odd = odd_plugin_module:build")
    install("first_twin", "first_twin_module", good, "twin = first_twin_module:build")
    install("second_twin", "second_twin_module", good, "twin = second_twin_module:build")
    return tmp_path


@pytest.mark.slow
def test_entry_points_are_registered(site: Path) -> None:
    script = """
        import json, sys
        import mmfusion as mmf
        from mmfusion.registry import PluginError

        def failure(name):
            try:
                mmf.create_model(name, spec)
            except PluginError as error:
                return str(error)

        def imported():
            return sorted(name for name in sys.modules if name.endswith(("plugin_module", "twin_module")))

        spec = mmf.DataSpec({"x": mmf.Image(3, (8, 8))}, n_classes=2)
        report = {"listed": mmf.registry.models.list(), "imported_by_listing": imported()}
        report["type"] = type(mmf.create_model("third_party", spec, dim=4)).__name__
        report["imported_by_one"] = imported()
        report["options"] = sorted(mmf.registry.models.options("third_party"))
        report |= {name: failure(name) for name in ("broken", "odd", "twin", "half")}
        report["half_again"] = failure("half")
        report["after"] = type(mmf.create_model("third_party", spec)).__name__
        try:
            mmf.create_model("third_party", spec, dimm=4)
        except ValueError as error:
            report["option"] = str(error)
        print(json.dumps(report))
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"third_party", "broken", "odd", "twin", "cfcml"} <= set(report["listed"])
    assert report["imported_by_listing"] == []
    assert report["type"] == report["after"] == "FusionModel"
    assert report["imported_by_one"] == ["good_plugin_module"]
    assert report["options"] == ["dim"]
    assert "'broken' comes from the distribution 'bad_plugin'" in report["broken"]
    assert "ModuleNotFoundError" in report["broken"]
    assert "'odd' of the distribution 'odd_plugin' expects" in report["odd"]
    assert "'twin' is offered by ['first_twin', 'second_twin']: uninstall all but one" in report["twin"]
    assert "broken after it was registered" in report["half"]
    assert report["half_again"] == report["half"]
    assert "did you mean 'dim'?" in report["option"]
