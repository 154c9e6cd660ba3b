"""The version of this release: `timbrado --version`, the wheel, the image and build_info have it from here."""

VERSION = "0.1.0"
