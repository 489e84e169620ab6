"""What is used unless the user says otherwise. Importing this costs nothing."""

DETECTOR = "picodet_s_320_lcnet_pedestrian"
POSE = "tinypose_256x192"
BOTTOM_UP = "higherhrnet_w32_512"
# In place of a model's name: the model that the weights name, or the default without weights. (None is "no detector".)
AUTO = "auto"
NO_DETECTOR = "none"
PRECISIONS = ("fp32", "fp16", "int8")
CROP_RULES = ("deploy", "evaluation", "consistent")
RESIZES = ("opencv", "portable")
FRAME, REACT_NATIVE = INTERFACES = ("frame", "react-native")  # of app files
# Of the frames that app files take; see `tinypose_torch.utils.pixel_formats`.
PIXEL_FORMATS = ("rgb", "rgba", "bgr", "nv21")
# Images, or people, that a network gets at once. On CPUs 8 is the fastest, or as fast as any other size.
BATCH_SIZE = 8
# Score above which a keypoint counts as visible, as in PaddleDetection's evaluation.
VISIBLE = 0.2
OUTPUT_FOLDER = "output"
BENCHMARK_MODELS = ("tinypose_128x96", "picodet_s_192_lcnet_pedestrian")
