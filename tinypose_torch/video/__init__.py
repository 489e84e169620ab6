"""Reading, writing and displaying videos and camera streams."""

from tinypose_torch.video.files import VideoError, VideoReader, VideoWriter, is_camera, is_video

__all__ = ["VideoError", "VideoReader", "VideoWriter", "is_camera", "is_video"]
