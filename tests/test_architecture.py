"""Laws of the code as a whole."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from fedkd.config.settings import keys
from fedkd.protocol.resolve import RUN_KEYS

ROOT = Path(__file__).parents[1]
PACKAGES = ("fedkd", "clients", "server", "sims")
# What each part may import of the others; inside fedkd, by folder. A hub runs models as its devices do, and a server's
# messages are packed as its nodes' are.
MAY_IMPORT = {
    "fedkd": {"fedkd"},
    "clients": {"fedkd", "clients"},
    "server": {"fedkd", "server", "clients.device", "clients.node.transport"},
    "sims": {"fedkd", "clients", "server", "sims"},
}
LAYERS = {
    "base": set(),
    "config": {"base"},
    "data": {"base", "config", "objectives"},
    "models": {"base"},
    "exchange": {"base", "config"},
    "distill": {"base", "config", "data", "models", "objectives"},
    "tasks": {"base", "config", "data", "objectives"},
    "compress": {"base", "exchange", "models"},
    "edge": {"base", "compress", "config", "models", "objectives", "results"},
    "objectives": {"base"},
    "results": {"base", "config", "objectives"},
    "litert": {"base", "data", "distill"},
    "privacy": {"base", "exchange"},
    "protocol": {
        "base",
        "compress",
        "config",
        "data",
        "distill",
        "exchange",
        "litert",
        "models",
        "objectives",
        "privacy",
        "tasks",
    },
}


@cache
def nodes(path):
    """All of a module's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path):
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module in PACKAGES:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_in_one_direction(package):
    for path in sources(package):
        for name in imports(path):
            assert within(name, MAY_IMPORT[package]) or not within(name, PACKAGES), f"{path} imports {name}"


def within(name, packages):
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def test_a_device_knows_nothing_of_the_rest():
    """It is installed alone, see clients/device/pyproject.toml."""
    libraries = {"ai_edge_litert", "google", "grpc", "numpy", "tuf", "urllib3"}
    for path in sources("clients/device"):
        for name in imports(path):
            known = name.split(".")[0] in libraries | sys.stdlib_module_names
            assert known or within(name, {"clients.device"}), f"{path} imports {name}"


def test_every_folder_of_the_method_has_its_layer():
    assert set(LAYERS) == {path.parent.name for path in (ROOT / "fedkd").glob("*/__init__.py")}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_of_the_method_import_in_one_direction(layer):
    """A layer imports those that are allowed, no others, and each that is allowed."""
    names = {name for path in sources(f"fedkd/{layer}") for name in imports(path)}
    assert {name.split(".")[1] for name in names if name.startswith("fedkd.")} - {layer} == LAYERS[layer]


def test_layers_form_no_circle():
    def reached(layer, path=()):
        assert layer not in path, (*path, layer)
        for below in LAYERS[layer]:
            reached(below, (*path, layer))

    for layer in LAYERS:
        reached(layer)


def test_the_method_knows_no_flower():
    for path in sources("fedkd"):
        assert not {n.split(".")[0] for n in imports(path)} & {"flwr", "ray", "grpc"}, path


def test_fields_are_packed_for_flower_in_one_module():
    for package in PACKAGES:
        for path in (path for path in sources(package) if path.parent.name != "programs"):
            attributes = {n.attr for n in nodes(path) if isinstance(n, ast.Attribute)}
            packs = "config_records" in attributes or "fedkd.protocol.chunking" in imports(path)
            assert not packs or path == ROOT / "clients/node/transport.py", path


def test_flowers_internals_are_touched_in_few_modules():
    public = {"flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy", "flwr.simulation"}
    inner = {
        p.name
        for package in PACKAGES
        for p in sources(package)
        for n in imports(p)
        if n.split(".")[0] == "flwr" and n not in public
    }
    assert inner == {"local_grid.py", "supernode.py", "superexec.py", "clientapp.py"}


def test_private_names_of_keras_and_litert_are_touched_in_one_module_each():
    """They may change in any release, which pyproject.toml bounds; ``device`` reads none but its interpreter."""
    private = {"_keras_history", "_inbound_nodes", "_flatten_layers", "_experimental_disable_per_channel"}
    modules = ("keras.src", "tensorflow.python", "ai_edge_litert.schema_py_generated", "ai_edge_litert.tools")
    for package in PACKAGES:
        for path in sources(package):
            if path.name in ("keras_internals.py", "litert_internals.py"):
                continue
            attributes = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
            assert not attributes & private, path
            assert not [name for name in imports(path) if f"{name}.".startswith(tuple(f"{m}." for m in modules))], path


# Distributions by the modules they bring, where the names differ.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "google": "protobuf", "grpc": "grpcio", "tomli_w": "tomli-w"} | {
    "grpc_health": "grpcio-health-checking", "ai_edge_litert": "ai-edge-litert", "flwr_datasets": "flwr-datasets",
    "tflite_micro": "tflite-micro", "mlflow": "mlflow-skinny", "ai_edge_quantizer": "ai-edge-quantizer",
    "dp_accounting": "dp-accounting",
}  # fmt: skip
# Whoever has it gets more of a history.
NOT_NEEDED = {"pandas"}


@pytest.mark.parametrize("folder, packages", [("", PACKAGES), ("clients/device", ("clients/device",))])
def test_what_is_imported_is_declared(folder, packages):
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    declared = {re.split(r"[<>=;\[ ]", text)[0] for text in texts}
    for package in packages:
        # Peers' programs run in environments of their own.
        for path in (path for path in sources(package) if path.parent.name != "programs"):
            roots = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {*PACKAGES, *NOT_NEEDED}
            missing = {DISTRIBUTIONS.get(root, root) for root in roots} - declared
            assert not missing, f"{path} imports {missing}"


def test_keras_and_tensorflow_are_bounded_above():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in ("keras", "tensorflow"):
        assert any(text.startswith(f"{name}>=") and ",<" in text for text in project["dependencies"]), name


def test_nothing_is_unpickled():
    for package in PACKAGES:
        for path in sources(package):
            assert "pickle" not in {n.split(".")[0] for n in imports(path)}, path
            keywords = [node for node in nodes(path) if isinstance(node, ast.keyword)]
            assert {ast.unparse(k.value) for k in keywords if k.arg == "allow_pickle"} <= {"False"}, path


def starts_of_python(path):
    """Lists that are a command of some Python: with ``sys.executable``, or with -m or -c, in them."""
    for node in nodes(path):
        if isinstance(node, ast.List | ast.Tuple):
            words = [ast.unparse(each) for each in node.elts]
            if "sys.executable" in words or {"'-m'", "'-c'"} & set(words):
                yield words


def test_every_python_that_is_started_leaves_the_current_folder_alone():
    """A numpy.py or sitecustomize.py there would run in it: -P is in its command, the folder isn't in PYTHONPATH."""
    places = set()
    for package in PACKAGES:
        for path in sources(package):
            text, known = path.read_text(), {"Path(sys.executable).parent"}
            for words in starts_of_python(path):
                assert "'-P'" in words, f"{path} starts {words}"
                places.add(path.relative_to(ROOT).as_posix())
            whole = [n for n in nodes(path) if isinstance(n, ast.Attribute) and ast.unparse(n) == "sys.executable"]
            held = [words for words in starts_of_python(path) if "sys.executable" in words]
            fine = sum(text.count(each) for each in known)
            assert len(whole) == len(held) + fine, f"{path} has sys.executable elsewhere than in a command with -P"
            makes = path.name == "trial.py"
            assert '"PYTHONPATH":' not in text or makes or "import_path()" in text or path.name == "emulated.py", path
            if "multiprocessing" in {name.split(".")[0] for name in imports(path)}:
                assert "with safe_path():" in text, path
    assert places == {"fedkd/base/python.py", "clients/device/trial.py", "sims/bench/peers/environments.py"}


def test_texts_reach_rich_as_texts():
    """Folders may be called [bold]x: one console for all commands, which knows no markup; what has a style is Text."""
    for path in sources("sims"):
        calls = {ast.unparse(node.func) for node in nodes(path) if isinstance(node, ast.Call)}
        assert "Console" not in calls, f"{path}: sims.terminal.Terminal"
        assert not {name for name in calls if name.endswith("from_markup")}, path
        assert "rich.markup" not in set(imports(path)), path


# Where a configuration is read that a person has named, that is ours, or of which no code is taken.
READS_TOML = {
    "fedkd/results/run_folder.py",
    "sims/cli.py",
    "sims/deploy/cli.py",
    "sims/evaluate.py",
    "sims/suite/folder.py",
}


def test_a_configuration_that_a_command_finds_is_read_with_distrust():
    found = set()
    for package in PACKAGES:
        for path in sources(package):
            if re.search(r"import .*\bread_toml\b", path.read_text()):
                found.add(path.relative_to(ROOT).as_posix())
    assert found == READS_TOML | {"fedkd/config/trust.py"}


def test_flower_app_lists_every_key_of_the_configuration():
    app = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    flat = {f"{k}.{inner}" for k, v in app.items() if isinstance(v, dict) for inner in v}
    flat |= {k for k, v in app.items() if not isinstance(v, dict)}
    assert flat - set(RUN_KEYS) == {key for key, _ in keys()}


def test_help_and_checks_of_settings_need_no_tensorflow():
    code = (
        "import sys, sims.cli, sims.run, fedkd.protocol.resolve as r; r.resolve({}); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_protocol_needs_neither_tensorflow_nor_keras():
    """Nor do exchange and the server's checks, so that what a server refuses is known before anything slow."""
    packages = [path for layer in ("protocol", "exchange") for path in sources(f"fedkd/{layer}")]
    modules = [str(p.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__") for p in packages]
    names = ["server.validation", "server.reply", *modules]
    assert {"fedkd.protocol.federation", "fedkd.protocol.finishing", "fedkd.exchange.codec"} < set(names)
    code = f"import sys, {', '.join(names)}; print({{'keras', 'tensorflow'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_the_apps_leaves_tensorflow_to_be_configured():
    code = "import sys, server.app, clients.node.app; print({'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_device_runtime_needs_neither_keras_nor_tensorflow():
    code = "import sys, fedkd.edge.runtime; print({'keras', 'tensorflow', 'flwr'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_the_table_of_runtimes_needs_none_of_them():
    heavy = "{'keras', 'tensorflow', 'flwr', 'ai_edge_litert', 'tflite_micro'}"
    code = f"import sys, fedkd.edge.runtimes; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def functions(path):
    return (node for node in nodes(path) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_and_no_function_hides_a_second_idea(package):
    """At most 300 lines of a file, and 40 of a function without its signature and docstring."""
    for path in sources(package):
        assert "_pb2" in path.name or len(path.read_text().splitlines()) <= 300, path
        for function in functions(path):
            first = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0].lineno
            assert function.end_lineno - first < 40, (path, function.name)
