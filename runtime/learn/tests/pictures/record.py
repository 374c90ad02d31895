"""Records small JPEG files of Pillow, and what Pillow makes of pictures: `python3 record.py` in this folder.

Needs Pillow alone. The versions of Pillow and libjpeg stand in values.json.
"""

import hashlib
import json
import math
import struct
import zlib

from PIL import Image, features, __version__


def noise(count):
    """The same bytes as `noise` in the tests."""
    return bytes(((i * 2654435761 + 12345) & 0xFFFFFFFF) >> 24 for i in range(count))


def noise16(count):
    words = (((i * 2654435761 + 12345) & 0xFFFFFFFF) >> 16 for i in range(count))
    return b"".join(word.to_bytes(2, "little") for word in words)


def textured(width, height):
    """Waves with a little noise, in colour."""
    grain = noise(width * height * 3)
    values = bytearray()
    for y in range(height):
        for x in range(width):
            for c in range(3):
                wave = 110 + 60 * math.sin(x / 5 + c) + 50 * math.cos(y / 4 - c)
                values.append(max(0, min(255, round(wave + grain[len(values)] / 16))))
    return Image.frombytes("RGB", (width, height), bytes(values))


RESIZES = [
    ("L", (23, 17), (9, 11), "bilinear"),
    ("L", (9, 11), (23, 17), "bilinear"),
    ("L", (40, 3), (7, 3), "bilinear"),
    ("RGB", (20, 13), (20, 5), "bilinear"),
    ("RGB", (31, 29), (8, 64), "bilinear"),
    ("RGB", (620, 530), (332, 332), "bilinear"),
    ("L", (620, 530), (332, 332), "nearest"),
    ("RGB", (31, 29), (8, 64), "nearest"),
    ("I;16", (23, 17), (9, 11), "bilinear"),
    ("I;16", (9, 11), (23, 17), "bilinear"),
]


def resize(mode, size, to, how):
    count = size[0] * size[1] * {"L": 1, "RGB": 3, "I;16": 1}[mode]
    picture = Image.frombytes(mode, size, noise16(count) if mode == "I;16" else noise(count))
    result = picture.resize(to, {"bilinear": Image.BILINEAR, "nearest": Image.NEAREST}[how])
    digest = hashlib.sha256(result.tobytes()).hexdigest()
    return {"mode": mode, "from": size, "to": to, "how": how, "sha256": digest}


def interlaced(name, values, width, height, depth):
    """An interlaced PNG file, which Pillow reads and does not write."""
    rows = bytearray()
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    for x, y, right, down in passes:
        if x >= width:
            continue
        for line in range(y, height, down):
            bits = "".join(format(values[line * width + at], f"0{depth}b") for at in range(x, width, right))
            bits += "0" * (-len(bits) % 8)
            rows += bytes([0]) + int(bits, 2).to_bytes(len(bits) // 8, "big")
    with open(name, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 1)
        for kind, data in [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b"")]:
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def main():
    small = textured(6, 4)
    small.save("colour.jpg", quality=90)
    small.save("progressive.jpg", quality=90, progressive=True)
    small.convert("L").save("grey.jpg", quality=90)
    small.convert("CMYK").save("cmyk.jpg", quality=90)
    turned = Image.Exif()
    turned[0x0112] = 6
    small.save("turned.jpg", quality=90, exif=turned)
    textured(48, 32).save("textured.jpg", quality=90, subsampling="4:2:0")
    textured(48, 32).save("filtered.png")
    Image.frombytes("I;16", (13, 11), noise16(13 * 11)).save("deep.png")
    grey = textured(13, 11).convert("L")
    interlaced("interlaced.png", list(grey.tobytes()), 13, 11, 8)
    interlaced("interlaced1.png", [value >> 7 for value in grey.tobytes()], 13, 11, 1)
    pngs = ["filtered.png", "deep.png", "interlaced.png", "interlaced1.png"]
    values = {
        "pillow": __version__,
        "libjpeg": features.version("jpg"),
        "turbo": features.version("libjpeg_turbo"),
        "resize": [resize(*case) for case in RESIZES],
        "textured": list(Image.open("textured.jpg").tobytes()),
        "grey": list(Image.open("colour.jpg").convert("L").tobytes()),
        "colour": list(Image.open("colour.jpg").tobytes()),
    }
    for name in pngs:
        picture = Image.open(name)
        picture = picture.convert("L") if picture.mode == "1" else picture
        raw = picture.tobytes()
        deep = picture.mode == "I;16"
        values[name] = [int.from_bytes(raw[n : n + 2], "little") for n in range(0, len(raw), 2)] if deep else list(raw)
    with open("values.json", "w", encoding="ascii") as file:
        json.dump(values, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
