"""COCO annotations that cannot be right, and what the error about them says."""

import json

RECIPES = {"pose": "demo_pose", "bottom-up": "demo_bottom_up", "boxes": "demo_detector"}
KEYPOINT_TASKS = ("pose", "bottom-up")
KEYPOINTS = [10, 10, 2, 20, 12, 1, 30, 40, 2]
CONTENT = {
    "images": [{"id": index, "file_name": f"{index}.png", "width": 64, "height": 48} for index in (1, 2)],
    "annotations": [
        {
            "id": index,
            "image_id": 1 + index % 2,
            "category_id": 1,
            "bbox": [5, 5, 40, 40],
            "area": 900.0,
            "iscrowd": 0,
            "keypoints": KEYPOINTS,
            "num_keypoints": 3,
        }
        for index in range(4)
    ],
    "categories": [{"id": 1, "name": "person", "keypoints": ["nose", "left_hand", "right_hand"], "skeleton": [[1, 2]]}],
}
NAN, INF, HUGE = float("nan"), float("inf"), 10**400


def first(**changes):
    """Changes of the first annotation."""
    return lambda content: content["annotations"][0].update(changes)


def image(**changes):
    return lambda content: content["images"][0].update(changes)


def category(**changes):
    return lambda content: content["categories"][0].update(changes)


def part(**changes):
    return lambda content: content.update(changes)


def drop(name, key):
    return lambda content: content[name][0].pop(key)


def point(index, value):
    return first(keypoints=[*KEYPOINTS[:index], value, *KEYPOINTS[index + 1 :]])


# What is wrong: the change, and the error for all tasks. The annotation and the value are named.
EVERY_TASK = {
    "area null": (first(area=None), "annotation 0: area None; expected square pixels"),
    "area text": (first(area="big"), "annotation 0: area 'big'"),
    "area list": (first(area=[9]), r"annotation 0: area \[9\]"),
    "area huge": (first(area=HUGE), "annotation 0: area 1000.*"),
    "area true": (first(area=True), "annotation 0: area True"),
    "iscrowd text": (first(iscrowd="no"), "annotation 0: iscrowd 'no'; expected 0 or 1"),
    "iscrowd null": (first(iscrowd=None), "annotation 0: iscrowd None"),
    "iscrowd 2": (first(iscrowd=2), "annotation 0: iscrowd 2"),
    "bbox of three": (first(bbox=[1, 2, 3]), r"annotation 0: bbox \[1, 2, 3\]; expected x, y, width, height"),
    "bbox null": (first(bbox=None), "annotation 0: bbox None"),
    "bbox of nulls": (first(bbox=[None] * 4), "annotation 0: bbox "),
    "bbox nested": (first(bbox=[[1, 2], [3, 4]]), "annotation 0: bbox "),
    "bbox huge": (first(bbox=[0, 0, HUGE, 5]), "annotation 0: bbox "),
    "bbox beyond floats": (first(bbox=[0, 0, 1e300, 5]), "annotation 0: bbox "),
    "no bbox": (drop("annotations", "bbox"), "annotation 0: bbox None"),
    "image_id list": (first(image_id=[1]), r"annotation 0: image_id \[1\]; expected an id"),
    "image_id null": (first(image_id=None), "annotation 0: image_id None"),
    "no image_id": (drop("annotations", "image_id"), "an annotation without image_id|annotation 0: image_id None"),
    "category_id list": (first(category_id=[1]), r"annotation 0: category_id \[1\]; expected an id"),
    "annotation id list": (first(id=[0]), r"annotation (id|\[0\]).* is not a number|annotation \[0\]: id"),
    "annotation id twice": (first(id=1), "annotation id 1 occurs more than once"),
    "annotation null": (
        lambda content: content["annotations"].insert(0, None),
        "an annotation without image_id|annotation number 1 is None",
    ),
    "image id twice": (image(id=2), "image id 2 occurs more than once"),
    "image id list": (image(id=[1]), r"image 0: id \[1\]; expected an id"),
    "image id null": (image(id=None), "image 0: id None"),
    "image ids of two types": (image(id="1"), r"the image ids \['1', 2\] are of several types"),
    "no image id": (drop("images", "id"), "image 0 has no id or no file_name"),
    "image null": (lambda content: content["images"].insert(0, None), "image 0 has no id or no file_name"),
    "file name number": (image(file_name=7), "image 0 has no id or no file_name"),
    "file name absolute": (image(file_name="/nowhere/1.png"), "1 images are not in .*'/nowhere/1.png'"),
    "file name above": (image(file_name="../1.png"), r"1 images are not in .*'\.\./1.png'"),
    "file name empty": (image(file_name=""), "1 images are not in .* the first is ''"),
    "file name of a folder": (image(file_name="."), r"1 images are not in .* the first is '\.'"),
    "file name with NUL": (image(file_name="1\0.png"), r"1 images are not in .*'1\\x00.png'"),
    "file name with newline": (image(file_name="1\n.png"), r"1 images are not in .*'1\\n.png'"),
    "file name half a character": (image(file_name="\ud800"), "1 images are not in "),
    "file name too long": (image(file_name="x" * 70_000), r"1 images are not in .*x\.\.\.x"),
    "width text": (image(width="64"), "image 1: width '64', height 48; expected pixels"),
    "width huge": (image(width=HUGE), "image 1: width 1000"),
    "height 0": (image(height=0), "image 1: width 64, height 0"),
    "no height": (drop("images", "height"), "image 1: width 64, height None"),
    "images null": (part(images=None), "no list 'images'"),
    "images empty": (
        part(images=[]),
        "skipped: 4 of images that are not in the file|4 of images that are not in the file",
    ),
    "annotations null": (part(annotations=None), "no list 'annotations'"),
    "annotations object": (part(annotations={}), "no list 'annotations'"),
    "annotations empty": (part(annotations=[]), "no usable (person )?annotations"),
    "all iscrowd": (
        lambda content: [a.update(iscrowd=1) for a in content["annotations"]],
        "no usable .*4 iscrowd",
    ),
    "categories null": (part(categories=None), "no list 'categories'"),
    "categories of numbers": (part(categories=[1]), "no list 'categories' of objects|a category without id or name"),
    "categories empty": (part(categories=[]), "no category names its keypoints|no categories"),
    "category without id": (
        drop("categories", "id"),
        "'categories' of objects with an id|a category without id or name",
    ),
    "category id list": (category(id=[1]), "'categories' of objects with an id|a category without id or name"),
}
KEYPOINTS_ONLY = {
    "keypoints null": (first(keypoints=None), "annotation 0: keypoints None; expected a list of numbers"),
    "keypoints text": (first(keypoints="1 2 2"), "annotation 0: keypoints '1 2 2'"),
    "no keypoints": (drop("annotations", "keypoints"), "annotation 0: keypoints None"),
    "one keypoint less": (first(keypoints=KEYPOINTS[:6]), "6 keypoint numbers; 3 keypoints need 9"),
    "one number more": (first(keypoints=[*KEYPOINTS, 1]), "10 keypoint numbers; 3 keypoints need 9"),
    "keypoints nested": (first(keypoints=[[1, 2, 2]] * 3), r"annotation 0: \[1, 2, 2\] in keypoints; expected numbers"),
    "a keypoint text": (point(0, "10"), "annotation 0: '10' in keypoints"),
    "a keypoint null": (point(1, None), "annotation 0: None in keypoints"),
    "a keypoint huge": (point(0, HUGE), "annotation 0: 1000.* in keypoints"),
    "a keypoint beyond float32": (point(0, 1e300), r"annotation 0: 1e\+300 in keypoints"),
    "visibility negative": (point(2, -1), "annotation 0: visibility -1 in keypoints; expected 0 .* 1 .* or 2"),
    "num_keypoints text": (first(num_keypoints="3"), "annotation 0: num_keypoints '3'; expected a count"),
    "num_keypoints negative": (first(num_keypoints=-1), "annotation 0: num_keypoints -1"),
    "two categories": (
        lambda content: content["categories"].append({"id": 2, "name": "dog", "keypoints": ["tail"]}),
        r"several categories have keypoints: \['person', 'dog'\]",
    ),
    "keypoint names text": (category(keypoints="nose"), "keypoints 'nose'; expected a list of names"),
    "keypoint names numbers": (category(keypoints=[1, 2, 3]), r"keypoints \[1, 2, 3\]; expected a list of names"),
    "keypoint names twice": (category(keypoints=["a", "a", "b"]), "a keypoint is named twice"),
    "keypoint names with newlines": (
        category(keypoints=["left\n", "b", "c"]),
        "without an opposite: left|has other keypoints than",
    ),
    "links beyond": (category(skeleton=[[1, 99]]), "link .* does not fit its 3 keypoints"),
    "links infinite": (category(skeleton=[[1, INF]]), "the category's keypoints, skeleton or sigmas"),
    "links null": (category(skeleton=None), "the category's keypoints, skeleton or sigmas"),
    "sigmas 0": (category(sigmas=[0, 1, 1]), r"sigmas \[0.0, 1.0, 1.0\]; expected numbers above 0"),
    "sigmas NaN": (category(sigmas=[NAN, 1, 1]), "sigmas "),
    "sigmas of two": (category(sigmas=[1, 1]), "2 sigmas for 3 keypoints"),
    "category without keypoints": (drop("categories", "keypoints"), "9 keypoint numbers; 17 keypoints need 51"),
}
BOXES_ONLY = {
    "category name null": (category(name=None), "a category without id or name"),
    "category id infinite": (category(id=INF), "a category without id or name"),
    "category id twice": (
        lambda content: content["categories"].append({"id": 1, "name": "dog"}),
        "category id 1 occurs more than once",
    ),
    "category name twice": (
        lambda content: [
            content["categories"].append({"id": 2, "name": "person"}),
            content["annotations"][0].update(category_id=2),
        ],
        "categories 1 and 2 are both named 'person'; rename one",
    ),
    "no category_id": (drop("annotations", "category_id"), "without image_id or category_id"),
}
CASES = [
    *((task, name, *case) for task in RECIPES for name, case in EVERY_TASK.items()),
    *((task, name, *case) for task in KEYPOINT_TASKS for name, case in KEYPOINTS_ONLY.items()),
    *(("boxes", name, *case) for name, case in BOXES_ONLY.items()),
]


FILES = {
    "empty": (b"", "empty file"),
    "truncated": (json.dumps(CONTENT).encode()[:300], "not JSON"),
    "nested": (b"[" * 200_000, "no annotation format recognises it"),
    "nested objects": (b'{"a":' * 200_000, "not JSON"),
    "a list": (b"[1, 2]", "no annotation format recognises it"),
    "null": (b"null", "no annotation format recognises it"),
    "noise": (bytes(range(256)), "no annotation format recognises it"),
    "many digits": (b'{"images": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
    "the last of two keys": (
        json.dumps(CONTENT).encode()[:-1] + b', "annotations": []}',
        "no usable (person )?annotations",
    ),
    "two objects": (b"{}{}", "not JSON: Extra data"),
}
