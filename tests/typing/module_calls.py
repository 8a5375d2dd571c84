"""For mypy: calling a network is as typed as its `forward`. Torch itself says that any call of any module is right."""

from __future__ import annotations

from collections.abc import Callable

from mypy.checkmember import analyze_member_access
from mypy.plugin import AttributeContext, Plugin
from mypy.types import Type


def type_of_forward(context: AttributeContext) -> Type:
    return analyze_member_access(
        "forward",
        context.type,
        context.context,
        is_lvalue=False,
        is_super=False,
        is_operator=False,
        original_type=context.type,
        chk=context.api,  # type: ignore[arg-type]  # the checker, of which the plugin interface shows a part
    )


class ModuleCalls(Plugin):
    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        return type_of_forward if fullname == "torch.nn.modules.module.Module.__call__" else None


def plugin(version: str) -> type[Plugin]:
    return ModuleCalls
