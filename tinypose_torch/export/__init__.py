"""Networks as files that take pixels and give keypoints: TorchScript, ExecuTorch and ONNX."""

from tinypose_torch.export.api import Exported, ExportError, ExportOptions, export_model, export_pair

__all__ = ["ExportError", "ExportOptions", "Exported", "export_model", "export_pair"]
