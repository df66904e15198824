"""Library functions that change their arguments: `torch._foreach_add_`, `torch.add(..., out=weight)`, `numpy.put`."""

from __future__ import annotations

from verifier.program.builtins import Builtins
from verifier.program.values import Args, Data, Instance, Names, Seq, Site, Value, labels_of

_TABLE_WRITES = frozenset({"numpy.add.at", "numpy.put", "numpy.subtract.at", "numpy.maximum.at", "numpy.copyto", "numpy.put_along_axis",
                           "torch.index_put_"})  # fmt: skip
_LISTS = ("torch._foreach_", "torch._fused_", "torch._amp_foreach_")
_INTO_PARAMETERS = "torch.nn.utils.vector_to_parameters"


class InPlace(Builtins):
    """Models of library functions that change what they are given."""

    def changed_in_place(self, name: str, args: Args, names: Names, site: Site) -> bool:
        """Whether a call was one that changes its arguments; the changes are made then."""
        if name in _TABLE_WRITES and args:
            self.write(args[0], args[1] if len(args) > 2 else None, args[-1], site)
            return True
        if name == "torch._foreach_copy_" and len(args) > 1:
            for tensor in self._each(args[0]):
                self.copy_into(tensor, args[1], site)
            return True
        if name.startswith(_LISTS) and name.endswith("_") and args:
            given = Seq("tuple", [*args[1:], *names.values()])
            for target in self.targets_of(args[0]):
                self._change(target, given, site)
            return True
        if name.startswith(_INTO_PARAMETERS) and len(args) > 1:
            for target in self.targets_of(args[1]):
                self._change(target, args[0], site)
            return True
        out = names.get("out")
        if out is not None and name.startswith(("torch.", "numpy.")):
            rest = {key: value for key, value in names.items() if key != "out"}
            self._change(out, self.data("call:" + name, (*args, *rest.values()), site, names=tuple(rest)), site)
        return False

    def _each(self, tensors: Value) -> list[Data]:
        """The tensors of a list, the parameters of a model as what stands for all of them."""
        if isinstance(tensors, Data):
            return [tensors]
        if isinstance(tensors, Seq):
            return [item for item in tensors.items if isinstance(item, Data)]
        return []

    def _change(self, target: Value, value: Value, site: Site) -> None:
        if isinstance(target, Instance):
            labels = labels_of(value)
            event = self.emit("update", site, (target, value), labels, tokens=labels)
            self.mark(target, frozenset(one for one in labels if one[0] != "score") | {("upd", event.index)})
        else:
            self.write(target, None, value, site)
