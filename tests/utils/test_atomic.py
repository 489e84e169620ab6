import pytest

from tinypose_torch.utils.atomic import replacing


def test_the_new_file_or_the_old_one(tmp_path):
    path = tmp_path / "folder/x.txt"
    with replacing(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(RuntimeError, match="stop"):
        fail_halfway(path)
    assert path.read_text() == "one"
    assert [file.name for file in path.parent.iterdir()] == ["x.txt"]


def fail_halfway(path):
    with replacing(path) as temporary:
        temporary.write_text("tw")
        raise RuntimeError("stop")
