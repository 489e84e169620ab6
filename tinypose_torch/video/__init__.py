"""Video files, cameras, and how they are read, written and shown while people are found in them."""

from tinypose_torch.video.files import VideoError, VideoReader, VideoWriter, is_camera, is_video

__all__ = ["VideoError", "VideoReader", "VideoWriter", "is_camera", "is_video"]
