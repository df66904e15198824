"""What library functions do: torch, numpy, os, files. Unknown functions depend on all their arguments."""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Callable, Mapping, Sequence

from verifier.program.in_place import InPlace
from verifier.program.operators import is_small
from verifier.program.paths import fragments, message, metric_of, source_of
from verifier.program.scope import Scope
from verifier.program.state import Budget
from verifier.program.values import (
    NO_LABELS,
    NONE,
    UNSET,
    Args,
    Data,
    Func,
    Instance,
    Labels,
    Lib,
    Map,
    Names,
    Native,
    Seq,
    Site,
    Value,
    constant,
    has_tokens,
    is_scored,
    join_labels,
    labels_of,
)

_IDENTITY = frozenset(
    {"torch.compile", "torch.jit.script", "torch.nn.parallel.DistributedDataParallel", "torch.nn.DataParallel", "torch._dynamo.disable",
     "torch.compiler.disable", "torch.distributed.fsdp.FullyShardedDataParallel", "functools.lru_cache", "functools.cache", "builtins.iter",
     "torch._dynamo.optimize", "torch.nn.utils.parametrize.register_parametrization", "builtins.staticmethod", "builtins.classmethod",
     "torch.jit.ignore", "numba.njit", "numba.jit", "torch.nn.utils.parametrizations.weight_norm", "builtins.memoryview",
     "torch.compiler.allow_in_graph", "typing.cast2", "tqdm.tqdm", "tqdm.auto.tqdm", "contextlib.closing"}
)  # fmt: skip
_READS = frozenset(
    {"numpy.fromfile", "numpy.memmap", "numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "torch.load", "torch.from_file", "pickle.load", "json.load",
     "safetensors.torch.load_file", "mmap.mmap", "pandas.read_csv", "pandas.read_parquet", "torch.UntypedStorage.from_file", "numpy.lib.format.open_memmap",
     "marshal.load", "numpy.DataSource"}
)  # fmt: skip
_SAVES = frozenset(
    {
        "torch.save",
        "numpy.save",
        "numpy.savez",
        "numpy.savez_compressed",
        "pickle.dump",
        "json.dump",
        "safetensors.torch.save_file",
        "marshal.dump",
    }
)
_NETWORK = (
    "urllib.request.", "requests.", "huggingface_hub.", "datasets.load_dataset", "wget.", "gdown.", "http.client.", "socket.", "torch.hub.",
    "kernels.get_kernel", "httpx.", "aiohttp.", "boto3.", "transformers.AutoModel", "transformers.AutoTokenizer", "ftplib.", "modelscope.",
)  # fmt: skip
_PROCESS = ("subprocess.", "os.system", "os.popen", "os.exec", "os.spawn")
_COMPUTED = (
    "builtins.exec", "builtins.eval", "builtins.compile", "builtins.__import__", "importlib.import_module", "importlib.util.spec_from",
    "importlib.util.module_from", "runpy.", "marshal.loads", "types.FunctionType", "types.CodeType", "code.Interactive",
)  # fmt: skip
"""Python that the program makes while it runs."""
NATIVE = (
    "ctypes.", "cffi.", "torch.ops.load_library", "torch.classes.load_library", "torch.utils.cpp_extension.", "cupy.RawKernel", "cupy.RawModule", "pycuda.",
)  # fmt: skip
"""Machine code: not Python, but it may keep tables and fill arrays."""
_PACKAGES = frozenset(sys.stdlib_module_names) | {
    "torch", "numpy", "scipy", "mlx", "jax", "sentencepiece", "tokenmonster", "tokenizers", "tiktoken", "datasets", "huggingface_hub",
    "flash_attn", "flash_attn_interface", "flash_attn_3", "triton", "fla", "mamba_ssm", "causal_conv1d", "liger_kernel", "kernels", "einops",
    "gram_newton_schulz", "transformer_engine", "aiter", "numba", "cupy", "pycuda", "torchao", "bitsandbytes", "xformers", "apex",
    "zstandard", "brotli", "lz4", "zstd", "constriction", "safetensors", "python_minifier", "msgpack", "xxhash", "blake3", "cffi",
    "wandb", "tqdm", "rich", "matplotlib", "mpl_toolkits", "pandas", "pyarrow", "psutil", "pynvml", "dotenv", "requests", "modal",
    "tensorboard", "yaml", "regex", "packaging", "typing_extensions", "torchvision", "setproctitle", "boto3",
}  # fmt: skip
"""Packages whose functions do what they are known for: none of them trains a model by itself."""
_SELECTS = frozenset({"builtins.min", "builtins.max", "torch.min", "torch.max", "torch.minimum", "torch.maximum", "torch.where", "torch.fmin", "numpy.minimum",
                      "numpy.maximum", "numpy.where", "numpy.fmin", "numpy.min", "numpy.max", "torch.amin", "torch.amax", "numpy.select"})  # fmt: skip
_SIZE_CALLS = frozenset({"torch.numel", "numpy.size", "numpy.shape", "torch.zeros_like", "torch.empty_like", "torch.ones_like", "torch.rand_like", "torch.randn_like",
                         "numpy.zeros_like", "numpy.empty_like", "numpy.ones_like", "torch.full_like", "numpy.full_like"})  # fmt: skip
_CLOCKS = frozenset(
    {"time.time", "time.perf_counter", "time.monotonic", "time.process_time", "time.time_ns", "time.perf_counter_ns"}
)
_KNOWN: dict[str, object] = {
    "torch.cuda.is_available": True, "torch.distributed.is_available": True, "torch.distributed.is_initialized": True,
    "torch.distributed.get_rank": 0, "torch.cuda.device_count": 8, "torch.distributed.get_world_size": 8, "torch.cuda.current_device": 0,
    "torch.backends.mps.is_available": False, "torch.cuda.is_bf16_supported": True,
}  # fmt: skip
_EXCHANGES = ("all_reduce", "reduce", "all_gather", "gather", "all_to_all")
_MATH = frozenset({"ceil", "floor", "log", "log2", "log10", "sqrt", "exp", "gcd", "prod", "cos", "sin", "isclose", "pow"})


class Library(InPlace):
    """Models of library functions."""

    def __init__(self, config: Mapping[str, str], budget: Budget, witness: Mapping[Site, bool]) -> None:
        super().__init__(config, budget, witness)
        self._instances: dict[int, Instance] = {}

    @property
    def instances(self) -> dict[int, Instance]:
        return self._instances

    def call_library(self, name: str, args: Args, names: Names, node: ast.AST, scope: Scope) -> Value:
        site = self.site(node, scope) if getattr(node, "lineno", 0) else Site(scope.module.path, scope.module.layer, 0)
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self, args, names, node, scope, site)
        if name in _KNOWN:
            return constant(_KNOWN[name], site)
        last = name.rsplit(".", 1)[-1]
        if name in _IDENTITY or (last.endswith(("DistributedDataParallel", "FullyShardedDataParallel"))):
            return args[0] if args else Lib(name)
        if (name.endswith((".value_and_grad", ".grad")) and name.startswith(("mlx.", "jax."))) or name in (
            "mlx.core.compile",
            "jax.jit",
        ):
            return next((arg for arg in reversed(args) if isinstance(arg, Func)), args[0] if args else NONE)
        if name == "types.MethodType" and len(args) == 2 and isinstance(args[0], Func):
            return args[0].with_receiver(args[1])
        if name in _CLOCKS:
            return Data("call:" + name, (), frozenset({("time",)}), site)
        if name in _READS:
            return self._read(name, args, names, site)
        if name in _SAVES:
            return self._save(name, args, names, site)
        if name.startswith(_NETWORK):
            self.emit(
                "network", site, tuple(args), text=" ".join([name, *fragments(Seq("tuple", [*args, *names.values()]))])[:300]
            )
            return self.data("call:" + name, (*args, *names.values()), site, names=tuple(names))
        if name.startswith(_PROCESS) and last not in ("PIPE", "DEVNULL", "CalledProcessError"):
            words = fragments(Seq("tuple", args))
            self.emit("process", site, tuple(args), text=" ".join(words)[:300])
            if any(word.split()[:1] and word.split()[-1].endswith(".py") for word in words):
                self.problem("other-process", site, "another Python program is run, which is not followed")
            return Data("call:" + name, tuple(args), NO_LABELS, site)
        if name.startswith((*_COMPUTED, *NATIVE)):
            return self._opaque(name, args, names, site, scope)
        if name.startswith("math.") and last in _MATH:
            folded = _fold_math(last, args)
            if folded is not UNSET:
                return constant(folded, site, join_labels(args))
        if name in _SELECTS:
            self._select(name, args, names, site)
        if name in _SIZE_CALLS:
            labels = frozenset(label for label in join_labels(args[:1]) if label[0] in ("loop", "env")) | join_labels(args[1:])
            return self.data("call:" + name, tuple(args), site, labels)
        if self.changed_in_place(name, args, names, site):
            return NONE
        if name.startswith("torch.optim.") and last[:1].isupper() and not name.startswith("torch.optim.lr_scheduler"):
            return self._optimizer(name, args, names)
        if name.startswith(("torch.nn.", "mlx.nn.")) and last[:1].isupper():
            return self._layer(name, args, names, site, node, scope)
        if "cross_entropy" in last or last in ("nll_loss", "CrossEntropyLoss", "gaussian_nll_loss"):
            return self.loss(name, args, names, site)
        if name.startswith("torch.nn.init.") and last.endswith("_") and args:
            self.mark(args[0], join_labels(args[1:]))
            return args[0]
        if name.startswith("torch.distributed.") and last.startswith(_EXCHANGES):
            self.emit("exchange", site, (*args, *names.values()), text=last)
        if name.startswith("torch.distributed.") and last.startswith(
            ("all_gather", "broadcast", "scatter", "gather", "all_to_all", "reduce_scatter")
        ):
            labels = join_labels(args)
            if last.startswith(("all_gather", "reduce_scatter", "gather", "all_to_all")) and args:
                given = names.get("gather_list", args[1] if len(args) > 1 else NONE)
                into, taken = (given, args[0]) if last in ("gather", "gather_object") else (args[0], given)
                if last.endswith("_object") and isinstance(into, Seq):
                    into.items = [taken for _ in into.items]  # placeholders give way to what is gathered
                self.fill(into, taken, labels, site)
            return NONE
        if last in ("gather", "take_along_dim", "take_along_axis") and len(args) >= 2:
            return self.gathered("call:" + name, args, names, site)
        if name.partition(".")[0] not in _PACKAGES and any(
            isinstance(value, Instance) or has_tokens(labels_of(value)) for value in (*args, *names.values())
        ):
            self.problem("unknown-package", site, f"data are handed to {name}, a package that is not in the folder")
        return self.unknown_call("call:" + name, args, names, site, scope)

    # Files.

    def _read(self, name: str, args: Args, names: Names, site: Site) -> Value:
        path = args[0] if args else names.get("filename", names.get("file", NONE))
        values = (*args, *names.values())
        if isinstance(path, Data) and any(label[0] in ("src", "saved") for label in path.labels):
            return self.data("call:" + name, values, site, names=tuple(names))
        if isinstance(path, Instance | Map | Seq):
            return self.data("call:" + name, values, site, names=tuple(names))
        texts = fragments(path)
        saved = self.state.disk.get(_path_key(texts))
        labels = join_labels(values)
        if saved is not None:
            labels |= labels_of(saved)
        else:
            kind = source_of(path)
            if kind is not None:
                labels |= {("src", kind)}
            elif not texts and self.state.disk and name in ("torch.load", "pickle.load"):
                labels |= join_labels(self.state.disk.values())
        self.emit("read", site, (path,), labels, " ".join(texts)[:300])
        node = self.data("call:" + name, values, site, labels, names=tuple(names))
        if saved is not None:
            node.inner = saved
        return node

    def _save(self, name: str, args: Args, names: Names, site: Site) -> Value:
        first, second = (args[0] if args else NONE), (args[1] if len(args) > 1 else names.get("f", NONE))
        content, path = (
            (first, second)
            if name in ("torch.save", "pickle.dump", "json.dump", "safetensors.torch.save_file", "marshal.dump")
            else (second, first)
        )
        if not name.startswith("torch") and len(args) < 2:
            content = Seq("tuple", list(names.values()))
        texts = fragments(path)
        self.emit("save", site, (content, path), labels_of(content), " ".join(texts)[:300])
        if isinstance(path, Data) and path.op == "call:io.BytesIO":
            path.labels |= labels_of(content) | {("saved",)}
        elif isinstance(path, Data) and path.op == "call:builtins.open":
            self.state.disk[_path_key(texts[:1])] = content
        else:
            self.state.disk[_path_key(texts)] = content
        return NONE

    def _opaque(self, name: str, args: Args, names: Names, site: Site, scope: Scope) -> Value:
        if name in ("builtins.exec", "builtins.eval", "builtins.compile", "runpy.run_path"):
            if self.run_text(site, scope):
                return NONE
            if name == "builtins.eval" and args and isinstance(args[0], Data) and isinstance(args[0].const, str):
                number = _literal(args[0].const)
                if number is not UNSET:
                    return constant(number, site)
        if name == "importlib.import_module" and args and isinstance(args[0], Data) and isinstance(args[0].const, str):
            return self.import_module(args[0].const, scope, ast.Pass(lineno=site.line))
        self.emit("opaque", site, tuple(args), text=name)
        return self.data("call:" + name, (*args, *names.values()), site, names=tuple(names))

    # Objects of libraries.

    def _optimizer(self, name: str, args: Args, names: Names) -> Value:
        instance = self.new_instance(Lib(name))
        instance.fields["params"] = args[0] if args else names.get("params", NONE)
        return instance

    def _layer(self, name: str, args: Args, names: Names, site: Site, node: ast.AST, scope: Scope) -> Value:
        last = name.rsplit(".", 1)[-1]
        if last in ("Parameter", "Buffer", "UninitializedParameter"):
            return self.data("call:torch.nn.Parameter", tuple(args[:1]), site)
        if last in ("ModuleList", "ParameterList"):
            given = args[0] if args else Seq("list", serial=self.new_serial())
            return given if isinstance(given, Seq) else Seq("list", [given], False, self.new_serial())
        if last in ("ModuleDict", "ParameterDict"):
            return args[0] if args else Map(self.new_serial())
        if last == "DistributedDataParallel":
            return args[0] if args else NONE
        instance = self.new_instance(Lib(name))
        if last == "Sequential":
            for number, value in enumerate(args):
                self.set_field(instance, str(number), value)
            return instance
        for field in ("weight", "bias"):
            leaf = Data("call:torch.nn.Parameter", (), instance.state, site)
            leaf.serial = self.new_serial()
            self.set_field(instance, field, leaf)
        return instance

    def call_library_instance(self, instance: Instance, args: Args, names: Names, node: ast.AST, scope: Scope) -> Value:
        assert isinstance(instance.cls, Lib)
        site = self.site(node, scope)
        if instance.cls.name.endswith(("CrossEntropyLoss", "NLLLoss")):
            return self.loss(instance.cls.name, args, names, site)
        if instance.cls.name.endswith(".Sequential"):
            value: Value = args[0] if args else NONE
            for part in list(instance.fields.values()):
                value = self.call(part, [value], {}, node, scope)
            return value
        state = frozenset({("state", instance.top.serial)}) if self.state.symbolic else instance.state
        values = (*args, *names.values())
        return self.data("call:" + instance.cls.name, values, site, join_labels(values) | state, names=tuple(names))

    # The environment.

    def environment(self, args: Args, site: Site, required: bool = False) -> Value:
        name = args[0] if args else NONE
        default = args[1] if len(args) > 1 else NONE
        if not (isinstance(name, Data) and isinstance(name.const, str)):
            return Data("call:os.environ.get", tuple(args), frozenset({("env", "?")}), site)
        made = self.state.disk.get(f"env:{name.const}")
        if made is not None:
            return made
        given = self.state.config.get(name.const)
        if given is not None:
            return constant(given, site)
        if required:
            return Data("call:os.environ.get", (name,), frozenset({("env", name.const)}), site)
        return default

    def _print(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        self.report(args, site)
        return NONE

    def report(self, args: Args, site: Site) -> None:
        printed = Seq("tuple", args)
        metric = metric_of(printed)
        # Of several numbers in a line, its BPB is the one that it reports.
        labels = labels_of(metric) if metric is not None and is_scored(metric) else labels_of(printed)
        self.emit("report", site, tuple(args), labels, text=message(printed)[:600])

    def _getenv(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        given = [*args, *([names["default"]] if "default" in names else [])]
        return self.environment(given, site)

    def _environment_copy(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return Lib("os.environ")

    def _set_default(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        if (
            len(args) > 1
            and isinstance(args[0], Data)
            and isinstance(args[0].const, str)
            and args[0].const not in self.state.config
        ):
            self.state.disk[f"env:{args[0].const}"] = args[1]
        return self.environment(args, site)

    def _join_path(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        texts = [arg.const for arg in args if isinstance(arg, Data) and isinstance(arg.const, str)]
        if texts and len(texts) == len(args):
            return constant("/".join(text.rstrip("/") if text != texts[-1] else text for text in texts), site, join_labels(args))
        return self.data("call:os.path.join", tuple(args), site)

    def _parser(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return self.new_instance(Lib("argparse.ArgumentParser"))

    def _grad(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        loss = args[0] if args else NONE
        self.backward(loss, site)
        return self.data("call:torch.autograd.grad", tuple(args), site)

    def _gradient_function(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        return Native(Lib("torch.func.grad.of"), "", tuple(args[:1]))

    def _functional_call(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        """A model called with other weights: the result depends on them, too."""
        if len(args) < 2:
            return NONE
        given = names.get("args", args[2] if len(args) > 2 else Seq("tuple"))
        inputs = given.items if isinstance(given, Seq) and given.kind in ("tuple", "list") else [given]
        result = self.call(args[0], inputs, {}, node, scope)
        return self.data("call:torch.func.functional_call", (result, args[1]), site) if isinstance(result, Data) else result

    def _gradients_of(self, args: Args, names: Names, node: ast.AST, scope: Scope, site: Site) -> Value:
        """`torch.func.grad(f)(weights, ...)`: the gradients; with the value before them for `grad_and_value`."""
        loss = self.call(args[0], args[1:], names, node, scope) if args else NONE
        self.backward(loss, site)
        return self.data("call:torch.autograd.grad", (loss, *args[1:]), site)

    def backward(self, loss: Value, site: Site) -> None:
        """Gradients of a loss: the next optimizer step uses them."""
        state = self.state
        if state.stepped:
            state.pending, state.stepped = [], False
        tokens: set[tuple[str | int, ...]] = set()
        for label in labels_of(loss):
            if label[0] == "score" and int(label[1]) < len(state.events):
                tokens |= state.events[int(label[1])].tokens
        event = self.emit("backward", site, (loss,), labels_of(loss), tokens=frozenset(tokens) or labels_of(loss))
        state.pending.append(event)

    def step(self, targets: list[Value], site: Site, optimizer: Value) -> None:
        """An optimizer changes its parameters with the gradients that are there."""
        state = self.state
        labels: Labels = frozenset().union(*(event.labels for event in state.pending)) if state.pending else NO_LABELS
        tokens: Labels = frozenset().union(*(event.tokens for event in state.pending)) if state.pending else NO_LABELS
        event = self.emit("update", site, (optimizer, *targets[:12]), labels, "step", tokens)
        if not targets or not state.pending:
            missing = "gradients of which no loss was seen" if targets else "parameters that are not known"
            self.problem("unseen-step", site, f"an optimizer steps with {missing}")
        state.stepped = True
        for target in targets:
            self.mark(target, frozenset({("upd", event.index)}))


def _literal(text: str) -> object:
    if len(text) > 200:
        return UNSET
    try:
        value: object = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return UNSET
    return value if is_small(value) else UNSET


def _fold_math(name: str, args: Args) -> object:
    numbers = [arg.const for arg in args if isinstance(arg, Data) and isinstance(arg.const, int | float)]
    if len(numbers) != len(args) or not numbers or any(abs(number) > 1e18 for number in numbers):
        return UNSET
    try:
        result: object = getattr(math, name)(*numbers)
    except (TypeError, ValueError, ArithmeticError):
        return UNSET
    return result if isinstance(result, int | float | bool) else UNSET


def _path_key(texts: Sequence[str]) -> str:
    return "file:" + "|".join(texts)[:400]


type _Special = Callable[[Library, Args, Names, ast.AST, Scope, Site], Value]

_SPECIAL: dict[str, _Special] = {
    "builtins.len": Library._length, "builtins.range": Library._range, "builtins.int": Library._int, "builtins.float": Library._float,
    "builtins.bool": Library._bool, "builtins.str": Library._str, "builtins.min": Library._minimum, "builtins.max": Library._maximum,
    "builtins.list": Library._list, "builtins.tuple": Library._tuple, "builtins.set": Library._set, "builtins.frozenset": Library._set,
    "collections.deque": Library._list, "builtins.sorted": Library._sorted, "builtins.dict": Library._make_dict, "collections.OrderedDict": Library._make_dict,
    "collections.defaultdict": Library._defaultdict, "collections.Counter": Library._counter, "builtins.zip": Library._zip,
    "builtins.enumerate": Library._enumerate, "builtins.map": Library._mapped, "builtins.filter": Library._filtered,
    "builtins.reversed": Library._reversed, "builtins.next": Library._next, "builtins.isinstance": Library._isinstance,
    "builtins.hasattr": Library._hasattr, "builtins.getattr": Library._getattr, "builtins.setattr": Library._setattr,
    "builtins.print": Library._print, "logging.info": Library._print, "sys.stdout.write": Library._print, "tqdm.tqdm.write": Library._print,
    "builtins.open": Library._open, "builtins.type": Library._type, "types.SimpleNamespace": Library._namespace, "argparse.Namespace": Library._namespace,
    "functools.partial": Library._partial, "copy.deepcopy": Library._copy, "copy.copy": Library._copy, "os.environ.get": Library._getenv,
    "os.getenv": Library._getenv, "os.environ.copy": Library._environment_copy, "os.environ.setdefault": Library._set_default, "os.path.join": Library._join_path,
    "argparse.ArgumentParser": Library._parser, "builtins.globals": Library._globals, "torch.autograd.grad": Library._grad,
    "torch.func.functional_call": Library._functional_call, "torch.nn.utils.stateless.functional_call": Library._functional_call,
    "torch.func.grad": Library._gradient_function, "torch.func.grad_and_value": Library._gradient_function, "torch.func.grad.of": Library._gradients_of,
}  # fmt: skip
