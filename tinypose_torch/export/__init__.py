"""Networks as files that take pixels and give keypoints: TorchScript, ExecuTorch and ONNX."""

from tinypose_torch.export.api import ExportError, ExportOptions, export_model, export_pair

__all__ = ["ExportError", "ExportOptions", "export_model", "export_pair"]
