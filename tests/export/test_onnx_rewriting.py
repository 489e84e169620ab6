"""Less work in writing ONNX files, and the same graphs."""

import pytest

pytest.importorskip("onnxscript")

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet

from tinypose_torch.export.quick import quick_rewriting

GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
agraph (float[2, 4] x) => (float[2, 4] e)
{
    a = Relu(x)
    b = Neg(x)
    c = Add(a, b)
    d = Relu(c)
    f = Neg(c)
    g = Mul(d, f)
    h = Add(g, a)
    e = Relu(h)
}"""


def both_signs(op, x):
    return op.Relu(x), op.Neg(x)


def larger_sign(op, x):
    return op.Abs(x), op.Sign(x)


def positive_sum(op, x, y):
    return op.Relu(op.Add(x, y))


def largest(op, x, y):
    return op.Max(x, y)


@pytest.mark.parametrize(
    ("rule", "made"), [((both_signs, larger_sign), {"Abs", "Sign"}), ((positive_sum, largest), {"Max"})]
)
def test_rules_find_the_same(rule, made):
    def rewritten():
        model = ir.from_onnx_text(GRAPH)
        RewriteRuleSet([RewriteRule(*rule)]).apply_to_model(model)
        return [node.op_type for node in model.graph]

    plain = rewritten()
    with quick_rewriting():
        assert rewritten() == plain
    assert made < set(plain), "the rule never applied"
