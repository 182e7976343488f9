"""The sentences of a Markdown page, without code, output, tables, formulas and the targets of links."""

import re

FENCE = re.compile(r"^(?P<indent> *)```.*?^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
DISPLAY = re.compile(r"^\$\$.*?\$\$[ ]*$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
INDENTED = re.compile(r"(?<=\n)\n(?:    .*\n|\n(?=    ))+")
TABLE = re.compile(r"^[ >]*\|.*$", re.MULTILINE)
INLINE = re.compile(r"``.+?``|`[^`]+`|\$[^$\n]+\$", re.DOTALL)
IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
HEADING = re.compile(r"^#+ .*$", re.MULTILINE)
TAG = re.compile(r"</?[a-z]+[^>\n]*>")
BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+] |\d+\. |#+ |> ))")
MARKER = re.compile(r"^\s*(?:[-*+] |\d+\. |#+ |> )")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|cf|vs|al|Sec|Eq|Fig|Prop|Thm|App|No|resp)\.(?=\s)")
END = re.compile(r"(?<=[.!?])[)\"'*_\]]*\s+(?=[\"'(*_\[]*(?:[A-Z0-9`]|nlicl\b|numba\b|torch\b|[\w-]+\.md\b))")
WORD = re.compile(r"[^\W\d_][\w'’-]*")
POINT_FIRST = re.compile(r"(?<![\w.)\]}/*])[-+]?\.\d+")


def without_blocks(page):
    """A page without fenced and indented blocks, displayed formulas and comments: prose and tables."""
    for pattern in (FENCE, DISPLAY, COMMENT):
        page = pattern.sub("\n\n", page)
    return INDENTED.sub("\n\n", page)


def sentences(page):
    """The sentences of a page. A piece of code or a formula in a line counts as one word."""
    text = without_blocks(page)
    text = TABLE.sub("\n\n", text)
    text = INLINE.sub("Code", text)
    text = LINK.sub(r"\1", IMAGE.sub("", text))
    text = HEADING.sub(r"\n\g<0>\n", TAG.sub("\n\n", text))
    found = []
    for block in BLOCK.split(text):
        line = ABBREVIATION.sub(r"\1", " ".join(MARKER.sub("", block).split()))
        found += [sentence for sentence in END.split(line) if WORD.search(sentence)]
    return found


def words(sentence):
    """How many words a sentence has; numbers and signs do not count."""
    return len(WORD.findall(sentence))


def point_first(page):
    """Numbers of a page that begin with a point, as .48 does; code in a line and code blocks are left out."""
    text = re.sub(r"^( *)```python.*?^\1```[ ]*$", "", page, flags=re.MULTILINE | re.DOTALL)
    return POINT_FIRST.findall(re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", text))
