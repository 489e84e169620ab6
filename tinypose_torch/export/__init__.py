"""Networks as files that take pixels and give keypoints: TorchScript, ExecuTorch and ONNX."""

from tinypose_torch.export.api import ExportOptions, export_model

__all__ = ["ExportOptions", "export_model"]
