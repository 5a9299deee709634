"""Word, RTF, mail and archive files, good and bad, as bytes: made here, so that the suite carries no binaries."""

from __future__ import annotations

import io
import struct
import zipfile
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart

import pikepdf
from docx import Document

from handlers.documents import cfb
from tests.unit import hostile_files as hostile

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"


def docx() -> bytes:
    """Two pages: a paragraph, a table of two rows, a page break, another paragraph."""
    document = Document()
    document.core_properties.title = "Lease of the mill"
    document.core_properties.author = "Thistlewick Homes"
    document.core_properties.language = "en-US"
    document.add_paragraph("Landlord leases the mill to Tenant.")
    table = document.add_table(2, 2)
    for row, cells in enumerate((("Rent", "$1,250.00"), ("Deposit", "$2,500.00"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    document.add_paragraph("Tenant pays on the first day.")
    document.add_page_break()  # type: ignore[no-untyped-call]  # python-docx's
    document.add_paragraph("Signed by both parties.")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def docx_of_body(xml: str) -> bytes:
    """A Word file with this between its body's tags."""
    names = (
        'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
        'xmlns:o="urn:schemas-microsoft-com:office:office" '
        'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    )
    return changed(docx(), {"word/document.xml": f"<w:document {names}><w:body>{xml}</w:body></w:document>".encode()})


def docx_with_relation(kind: str, target: str, *, part: str = "settings") -> bytes:
    """A Word file of which one part refers to something outside."""
    relation = f'<Relationship Id="rX" Type="{OFFICE}{kind}" Target="{target}" TargetMode="External"/>'
    xml = f'<Relationships xmlns="{RELATIONS}">{relation}</Relationships>'
    return changed(docx(), {f"word/_rels/{part}.xml.rels": xml.encode()})


def changed(package: bytes, parts: dict[str, bytes]) -> bytes:
    """A package with some parts added or replaced."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            if info.filename not in parts:
                new.writestr(info.filename, old.read(info))
        for name, data in parts.items():
            new.writestr(name, data)
    return out.getvalue()


def archive(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as new:
        for name, data in files.items():
            new.writestr(name, data)
    return out.getvalue()


def bomb() -> bytes:
    """50 kB that unpack to 50 MB."""
    return archive({"deed.txt": b"\0" * 50_000_000})


def overlapping_bomb() -> bytes:
    """Two members in the directory that share the bytes of one."""
    whole = archive({"a.txt": b"a" * 1_000})
    start = whole.index(b"PK\x01\x02")
    directory = whole[start : whole.index(b"PK\x05\x06")]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, 2 * len(directory), start, 0)
    return whole[:start] + directory + directory + end


def lying_archive() -> bytes:
    """Its member is longer than the directory says."""
    whole = bytearray(archive({"a.txt": b"a" * 1_000}))
    struct.pack_into("<L", whole, whole.index(b"PK\x01\x02") + 24, 10)
    return bytes(whole)


def encrypted_archive() -> bytes:
    """One whose member claims to be encrypted."""
    whole = bytearray(archive({"a.txt": b"secret"}))
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    return bytes(whole)


def nested_archive(depth: int) -> bytes:
    """A text in so many archives."""
    data = archive({"deed.txt": b"Deed of trust."})
    for _ in range(depth - 1):
        data = archive({"inner.zip": data})
    return data


RTF = rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}Purchase price \'80 425,000\par Buyer: Vo\u223 ?berg\page Second}"


def eml(*attachments: tuple[str, bytes]) -> bytes:
    """A mail with a plain and an HTML body, and what is attached."""
    message = EmailMessage()
    message["From"] = "Ingrid Vossberg <ingrid@buyer.example>"
    message["To"] = "office@thistlewick.example"
    message["Subject"] = "Offer for the mill"
    message["Date"] = "Mon, 03 Mar 2025 12:00:00 -0600"
    message["Message-ID"] = "<1@buyer.example>"
    message.set_content("We offer $425,000 for the mill.\n")
    message.add_alternative("<p>We offer <b>$425,000</b> for the mill.</p>", subtype="html")
    for name, data in attachments:
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def nested_eml(depth: int) -> bytes:
    """A multipart in a multipart in …"""
    outer = MIMEMultipart()
    outer["From"], outer["Message-ID"] = "a@b.example", "<1@b.example>"
    inner = outer
    for _ in range(depth):
        deeper = MIMEMultipart()
        inner.attach(deeper)
        inner = deeper
    return outer.as_bytes()


PACKED_RTF = bytes.fromhex(  # the example of MS-OXRTFCP: "hello world"
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
)


def msg_of_rtf() -> bytes:
    """A message whose only body is packed RTF."""
    return compound({"__properties_version1.0": b"\0" * 32, "__substg1.0_10090102": PACKED_RTF})


def msg(*attachments: tuple[str, bytes]) -> bytes:
    """A message as Outlook saves it."""
    streams: dict[str, bytes] = {
        "__properties_version1.0": b"\0" * 32 + struct.pack("<IIQ", 0x00390040, 6, 133_854_624_000_000_000),
        "__substg1.0_0C1A001F": "Ingrid Vossberg".encode("utf-16-le"),
        "__substg1.0_0E04001F": "Office".encode("utf-16-le"),
        "__substg1.0_0037001F": "Offer for the mill".encode("utf-16-le"),
        "__substg1.0_1000001F": "We offer $425,000.\r\nIngrid".encode("utf-16-le"),
    }
    for number, (name, data) in enumerate(attachments):
        folder = f"__attach_version1.0_#{number:08X}/"
        streams[folder + "__substg1.0_3707001F"] = name.encode("utf-16-le")
        streams[folder + "__substg1.0_37010102"] = data
    return compound(streams)


def compound(streams: dict[str, bytes]) -> bytes:
    """A compound file of version 3 with every stream in whole sectors (no mini stream); one level of storages."""
    sector, end, free = 512, 0xFFFFFFFE, 0xFFFFFFFF
    names = sorted({path.partition("/")[0] for path in streams if "/" in path})
    nodes: list[tuple[str, int, str, bytes]] = [("Root Entry", 5, "", b"")]
    nodes += [(name, 1, "", b"") for name in names]
    nodes += [(path.rpartition("/")[2], 2, path.rpartition("/")[0], data) for path, data in streams.items()]
    body, starts = bytearray(), []
    chain: list[int] = []
    for _, kind, _, data in nodes:
        count = -(-len(data) // sector) if kind == 2 else 0
        starts.append(len(body) // sector if count else end)
        chain += [len(chain) + step + 1 for step in range(count - 1)] + ([end] if count else [])
        body += data.ljust(count * sector, b"\0")
    first_dir = len(body) // sector
    siblings = {folder: [n for n, node in enumerate(nodes) if n and node[2] == folder] for folder in ("", *names)}
    directory = bytearray()
    for number, (name, kind, folder, data) in enumerate(nodes):
        row = siblings[folder]
        right = row[row.index(number) + 1] if number and row.index(number) + 1 < len(row) else free
        inside = siblings.get("" if kind == 5 else name, []) if kind != 2 else []
        encoded = (name + "\0").encode("utf-16-le")
        entry = encoded.ljust(64, b"\0") + struct.pack(
            "<HBBIII", len(encoded), kind, 1, free, right, inside[0] if inside else free
        )
        entry += b"\0" * 36 + struct.pack("<IQ", starts[number], len(data))
        directory += entry
    directory += b"\0" * (-len(directory) % sector)
    count = len(directory) // sector
    chain += [len(chain) + step + 1 for step in range(count - 1)] + [end]
    fats = 1
    while (len(chain) + fats) * 4 > fats * sector:
        fats += 1
    first_fat = len(chain)
    chain += [0xFFFFFFFD] * fats
    table = struct.pack(f"<{len(chain)}I", *chain).ljust(fats * sector, b"\xff")
    header = cfb.MAGIC + b"\0" * 16 + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + b"\0" * 10
    header += struct.pack("<8I", fats, first_dir, 0, 0, end, 0, end, 0)
    header += struct.pack("<109I", *[first_fat + n if n < fats else free for n in range(109)])
    return bytes(header + body + directory + table)


def circular_compound() -> bytes:
    """One whose directory's chain of sectors leads back to its start."""
    whole = bytearray(msg())
    (first_dir,) = struct.unpack_from("<I", whole, 48)
    (first_fat,) = struct.unpack_from("<I", whole, 76)
    struct.pack_into("<I", whole, 512 * (first_fat + 1) + 4 * first_dir, first_dir)
    return bytes(whole)


# ── PDFs that do something ───────────────────────────────────────────────────────────────────────────────────────


def pdf_with(catalog: str = "", *objects: bytes) -> bytes:
    """One page with text, more in its catalog, and more objects, numbered from 5."""
    content = b"BT /F 12 Tf 72 700 Td (The purchase price is $425,000.) Tj ET"
    return hostile.raw_pdf(
        f"<</Type/Catalog/Pages 2 0 R {catalog}>>".encode(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
        b"/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        *objects,
    )


def locked_pdf(password: str = "mill") -> bytes:
    """Protected by AES-256, as programs do it today."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf_with())) as pdf:
        pdf.save(out, encryption=pikepdf.Encryption(user=password, owner="owner"))
    return out.getvalue()


def unended_pdf() -> bytes:
    """Everything but most of the cross-reference table and what comes after."""
    whole = pdf_with()
    return whole[: whole.rindex(b"xref\n0") + 30]


def unended_pdf_without_its_picture() -> bytes:
    """The cut took away an object that the page refers to, and no other trace of it."""
    return unended_pdf().replace(b"/Resources<<", b"/Resources<</XObject<</I 9 0 R>>")


def misnumbered_pdf() -> bytes:
    """Its cross-reference table points anywhere."""
    return pdf_with().replace(b"0000000009 00000 n", b"0000000123 00000 n")
