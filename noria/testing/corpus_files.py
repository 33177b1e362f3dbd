"""Files of every kind that a corpus is read from, made small, and broken ones."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

ENGLISH = "The wheel is turned by the stream that it lifts."
CHINESE = "水车由它所提起的溪流推动。"

WIKI = f"""<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
  <siteinfo><sitename>Wheels</sitename><base>https://wheels.example/wiki/Main_Page</base></siteinfo>
  <page><title>Water wheel</title><ns>0</ns><id>7</id><revision><id>70</id><text xml:space="preserve">
'''Water wheels''' are [[machine|machines]].&lt;ref&gt;A book&lt;/ref&gt;
{{{{Infobox|speed=3}}}}
[[File:Wheel.jpg|thumb|A picture]]
== History ==
{ENGLISH}
{{| class="wikitable"
| a cell
|}}
[[Category:Machines]]</text></revision></page>
  <page><title>Noria</title><ns>0</ns><id>8</id><redirect title="Water wheel"/><revision><text>#REDIRECT [[Water wheel]]</text></revision></page>
  <page><title>Talk:Water wheel</title><ns>1</ns><id>9</id><revision><text>What a page.</text></revision></page>
  <page><title>水车</title><ns>0</ns><id>10</id><revision><text>{CHINESE}</text></revision></page>
</mediawiki>
"""

MAILBOX = f"""From ada@example.org Mon Jan  5 10:00:00 2026
From: Ada <ada@example.org>
To: desk@example.org
Subject: The wheel
Message-ID: <1@example.org>

{ENGLISH}
>From the beginning.

On Sunday, Bob wrote:
> Does it turn?

--{" "}
Ada, miller

From bob@example.org Mon Jan  5 11:00:00 2026
Subject: =?utf-8?b?5rC06L2m?=
Message-ID: <2@example.org>
Content-Type: text/html; charset=utf-8

<p>{CHINESE}</p>

From eve@example.org Mon Jan  5 12:00:00 2026
Subject: empty
Message-ID: <3@example.org>

> nothing of her own
"""

PAGE = f"""<html><head><title>Wheels</title></head><body><nav><a href="/">Home</a> <a href="/shop">Shop</a></nav>
<article><h1>The wheel</h1><p>{ENGLISH} It has turned for eight hundred years, and nobody in the village remembers a day without its sound.</p>
<p>Visitors come in summer to see how the buckets fill at the bottom and empty themselves at the top, one after the other, all day long.</p></article>
<footer>Imprint | Privacy</footer></body></html>"""


def pdf(text: str) -> bytes:
    """The smallest PDF of one page with one line of text."""
    content = f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return bytes(out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))


def docx(text: str) -> bytes:
    """The smallest Word file of one paragraph."""
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{word}"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    return out.getvalue()


def parquet(path: Path, rows: dict[str, list[str | None]]) -> None:
    """A Parquet file of text columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(rows), path)


def warc(path: Path, pages: dict[str, str], compressed: bool) -> None:
    """A web archive with an answer a page, and one that is a picture."""
    with path.open("wb") as file:
        for number, (url, page) in enumerate([*pages.items(), ("https://wheels.example/a.png", "PNG")]):
            kind = "image/png" if url.endswith("png") else "text/html; charset=utf-8"
            answer = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n{page}".encode()
            head = (
                f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:{number}>\r\nWARC-Target-URI: {url}\r\n"
                f"WARC-Date: 2026-01-05T10:00:00Z\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {len(answer)}\r\n\r\n"
            )
            record = head.encode() + answer + b"\r\n\r\n"
            file.write(gzip.compress(record) if compressed else record)


def compressed(data: bytes, suffix: str) -> bytes:
    """The bytes as a file whose name ends so holds them; the same bytes at any time of day (test ids are made of them)."""
    if suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor().compress(data)
    if suffix == ".gz":
        return gzip.compress(data, mtime=0)
    return {"": bytes, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix](data)
