"""The bits of masks: one table, decoded and encoded without loss."""

import numpy as np
import pytest

from calib.flags import FLAGS, decode, flag, usable


def test_every_bit_has_one_name_and_every_name_one_bit():
    assert len({f.bit for f in FLAGS}) == len({f.name for f in FLAGS}) == len(FLAGS)
    assert all(f.value == 2**f.bit == flag(f.name) for f in FLAGS)


def test_bits_fit_the_masks_of_frames_and_names_fit_a_header_card():
    assert max(f.bit for f in FLAGS) <= 7
    assert all(len(f.name) <= 8 and f.name.isupper() and f.meaning for f in FLAGS)


def test_a_mask_value_decodes_into_its_names():
    assert decode(0) == ()
    assert decode(flag("SATUR")) == ("SATUR",)
    assert decode(np.uint8(flag("HOT") | flag("NODATA"))) == ("NODATA", "HOT")
    assert decode(255) == tuple(f.name for f in FLAGS)
    for value in range(256):
        assert sum(flag(name) for name in decode(value)) == value


def test_an_unknown_flag_is_an_error():
    with pytest.raises(KeyError, match="WARM"):
        flag("WARM")


@pytest.mark.parametrize("name", [f.name for f in FLAGS])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_only_pixels_without_a_value_to_trust_leave_the_medians(name, dtype):
    mask = np.array([[0, flag(name)]], dtype)
    left = usable(mask)
    assert left.dtype == bool
    assert left[0, 0]
    assert left[0, 1] == (name not in ("NODATA", "DEAD", "SUPPLIED"))
    assert not usable(mask | dtype(flag("DEAD"))).any()
