"""Networks as files that take pixels and give keypoints: TorchScript, ExecuTorch and ONNX."""

from tinypose_torch.export.api import Exported, ExportError, ExportOptions, export_model, export_pair
from tinypose_torch.export.app.api import ExportedApp, export_app

__all__ = ["ExportError", "ExportOptions", "Exported", "ExportedApp", "export_app", "export_model", "export_pair"]
