"""Export formats that cannot be registered. One that can is in tests/test_extending.py."""

import pytest

from tinypose_torch.runtime import formats as export_formats


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"name": "onnx", "suffix": ".x"}, ValueError, "export format 'onnx' is already registered"),
        ({"name": "x", "suffix": ".onnx"}, ValueError, "suffix '.onnx' is taken"),
        ({"name": "x", "suffix": "x"}, ValueError, "suffix 'x' is taken, or has no dot"),
        ({"name": "eager", "suffix": ".x"}, ValueError, "'eager': a backend has the name"),
        ({"name": "x", "suffix": None}, TypeError, "X must have a `suffix`"),
    ],
)
def test_export_formats_that_are_not_registered(attributes, error, message):
    before = [known.name for known in export_formats.export_formats()]
    with pytest.raises(error, match=message):
        export_formats.register_export_format(type("X", (export_formats.OnnxFormat,), attributes))
    assert [known.name for known in export_formats.export_formats()] == before
