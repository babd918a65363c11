"""Headers and tables as the FITS library would write them."""

import io

import numpy as np
import pytest
from astropy.io import fits

from calib.archive.fits_stream import BLOCK, Column, Table, card_text, header_bytes, table_bytes
from calib.raw.sums import ones_complement_sum


@pytest.mark.parametrize(
    ("value", "comment"),
    [
        (True, "a switch"),
        (False, ""),
        (0, ""),
        (-1234567, "a number"),
        (12345678901234567890, ""),
        (0.1, "a fraction"),
        (1e-300, ""),
        ("", ""),
        ("H", "band"),
        ("it's", "a quote"),
        ("a text of more than eight characters", "and what it means"),
        ("x" * 68, ""),
        ("long " * 40, ""),
    ],
)
def test_cards_read_as_those_of_the_library(value, comment):
    assert card_text("NAME", value, comment) == fits.Card("NAME", value, comment or None).image


def test_a_header_has_its_sums():
    content = header_bytes([("SIMPLE", True, ""), ("BITPIX", 8, ""), ("NAXIS", 0, ""), ("EXTEND", True, "")], 0)
    assert ones_complement_sum(memoryview(content)) == 0xFFFFFFFF
    with fits.open(io.BytesIO(content), checksum=True) as hdus:
        assert hdus[0].header["DATASUM"] == "0"


def columns(n):
    return (
        Column("TIME", "D", np.arange(n) + 0.25, "d"),
        Column("LEVELS", "3D", np.arange(3.0 * n).reshape(n, 3), "DN"),
        Column("NUMBER", "J", -np.arange(n)),
        Column("OK", "L", np.arange(n) % 2 == 0),
        Column("WORD", "5A", ["ab", "", "fives"][:n]),
    )


@pytest.mark.parametrize("n", [0, 3])
def test_tables_hold_what_was_put_in(n):
    content = fits.PrimaryHDU().header.tostring().encode() + bytes(table_bytes(Table("THINGS", columns(n), "words")))
    assert len(content) % BLOCK == 0
    with fits.open(io.BytesIO(content), checksum=True) as hdus:
        found = hdus["THINGS"]
        assert found.header["MEANING"] == "words"
        assert [(c.name, c.format, c.unit or "") for c in found.columns] == [
            (c.name, c.form, c.unit) for c in columns(n)
        ]
        for column in columns(n):
            assert np.array_equal(found.data[column.name], np.asarray(column.values))


def test_tables_are_those_of_the_library():
    plain = [fits.Column(c.name, c.form, c.unit or None, array=np.asarray(c.values)) for c in columns(3)]
    library = fits.BinTableHDU.from_columns(plain, name="THINGS")
    memory = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), library]).writeto(memory)
    cards = library.header.tostring(endcard=False, padding=False)
    ours = bytes(table_bytes(Table("THINGS", columns(3))))
    assert ours[: len(cards)].decode() == cards
    assert ours[-BLOCK:] == memory.getvalue()[-BLOCK:]
