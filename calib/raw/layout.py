"""Where the frames lie in a file: the units that the layout of a profile names."""

from __future__ import annotations

from dataclasses import dataclass

from calib.profile import CubeLayout, Profile
from calib.raw.files import Refusal
from calib.raw.hdus import Hdu

__all__ = ["RawFile", "enough", "frame_count", "pick"]


@dataclass(frozen=True)
class RawFile:
    """The units of a file that the profile names.

    Attributes
    ----------
    primary : Hdu
        The primary unit.
    images : dict
        Raw read → its unit; only the first that was met if the walk ended there.
    table : Hdu or None
        The table of frames.
    """

    primary: Hdu
    images: dict[str, Hdu]
    table: Hdu | None


def enough(hdus: list[Hdu], profile: Profile) -> bool:
    """Tell whether the units read so far say all that an identity needs."""
    layout = profile.layout
    if isinstance(layout, CubeLayout):
        return hdus[-1].name in {name.upper() for name in layout.extensions}
    return _single_image(hdus, layout.extension) is not None


def _single_image(hdus: list[Hdu], extension: str | int) -> Hdu | None:
    if isinstance(extension, str) and extension.upper() != "PRIMARY":
        named = [hdu for hdu in hdus if hdu.name == extension.upper()]
        if len(named) > 1:
            raise Refusal(f"two extensions are named {extension}")
        return named[0] if named else None
    k = 0 if isinstance(extension, str) else extension
    if k == 0 and hdus and not hdus[0].axes:
        # Tile compression moves the primary image into the first extension.
        return hdus[1] if len(hdus) > 1 and hdus[1].compressed else None
    return hdus[k] if len(hdus) > k else None


def pick(hdus: list[Hdu], profile: Profile, *, partial: bool = False) -> RawFile:
    """Find the units that the profile names, and verify what their headers say about the frames.

    Parameters
    ----------
    hdus : list of Hdu
        As walked.
    profile : Profile
        Whose layout applies.
    partial : bool
        Only the beginning of the file was walked: what was not met is not missed.

    Raises
    ------
    Refusal
        If an extension is absent, or frames differ in shape or number.
    """
    layout = profile.layout
    images: dict[str, Hdu] = {}
    table = None
    if isinstance(layout, CubeLayout):
        for name in (*layout.extensions, layout.frames_table):
            named = [hdu for hdu in hdus[1:] if hdu.name == name.upper()]
            if len(named) > 1:
                raise Refusal(f"two extensions are named {name}")
            if named and name == layout.frames_table:
                table = named[0]
            elif named:
                images[name] = named[0]
            elif name in layout.extensions and not partial:
                raise Refusal(f"no extension {name}")
        if not images:
            raise Refusal(f"no extension {layout.extensions[0]}")
    else:
        image = _single_image(hdus, layout.extension)
        if image is None:
            what = layout.extension if isinstance(layout.extension, str) else f"number {layout.extension}"
            raise Refusal("no image in the primary HDU" if layout.extension == 0 else f"no extension {what}")
        images[layout.raw] = image
    _check_frames(images, profile)
    return RawFile(hdus[0], images, table)


def frame_count(hdu: Hdu) -> int:
    """Return the number of frames of a unit that `pick` found: 1 for a 2-D image."""
    axes = hdu.axes
    return axes[0] if len(axes) == 3 else 1


def _check_frames(images: dict[str, Hdu], profile: Profile) -> None:
    single = not isinstance(profile.layout, CubeLayout)
    for name, hdu in images.items():
        axes = hdu.axes
        where = "the frame" if single else name
        if len(axes) not in (2, 3):
            wanted = "2-D image" if single else "cube of frames"
            raise Refusal(f"{hdu.label if single else name} is no {wanted} but has {len(axes)} axes")
        if axes[-2:] != profile.detector.shape:
            is_shape, shape = (f"{ny}×{nx}" for ny, nx in (axes[-2:], profile.detector.shape))
            raise Refusal(f"frames are {is_shape}, the profile says {shape}")
        if single and len(axes) == 3 and axes[0] != 1:
            raise Refusal(f"{where} is a cube of {axes[0]} frames, the profile says one frame per file")
        if frame_count(hdu) == 0:
            raise Refusal(f"{where} has no frames")
    counts = {name: frame_count(hdu) for name, hdu in images.items()}
    first = next(iter(counts))
    for name, n in counts.items():
        if n != counts[first]:
            raise Refusal(f"{first} has {counts[first]} frames, {name} {n}")
