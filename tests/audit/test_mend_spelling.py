"""An edit as text: it parses to what is meant, and outside of it the text is byte for byte what it was."""

import ast
import copy
import importlib.util
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mending import patched, right_everywhere

import nlicl
from nlicl.audit.mend.spelling import Piece, changes, filled, inserted, left_out, put_together, spelled
from nlicl.audit.mend.templates import HERE

CORPUS = '''\
# -*- coding: utf-8 -*-
import numpy as np  # naïve: π ≈ 3
def  odd( x ,y = 2 ):   # spaces   stay
\tif y>0 :  z=x*y ; w = -x
\telse:
\t\tz = x ; w=+x
\treturn z+w  ;


@wraps( inner )
def größe(matrix, *, über=1.5):
    """Die Größe (πππ) von `matrix`."""
    summe = (matrix.T   @ matrix
             + über*np.eye( len(matrix) )   # ← über
             - 2)
    wert = "naïve 'ü' # no comment", summe [ 0 , : ], matrix[ 1: ,-1 ]
    total = summe if über > 1 else matrix ** -2
    for   i in range( len(summe)-1 ) :
        summe[ i ]  +=  - wert[1][i] * 3 ; summe[i] -= i
    f = lambda t : t*2 if t else - t
    return ( f ( summe ) . sum( axis = 0 ) / \\
        len( wert ) ** 2 ) , not total , [ a+b for a , b in zip(summe,matrix) if a<b<2 ]


class   Netz :
    scale=1
    def backward ( self , δ ) :
        h = { "δ" : δ @ self.W2 . T , 'b' : ~ δ } [ 'δ' ] ; g = h and δ or h
        return  h * ( 1-self . a**2 )  ,  g  # ende'''
TREE = ast.parse(CORPUS)
TEMPLATES = [
    "HERE", "-HERE", "2 * HERE", "HERE.T", "HERE ** 2", "1 - HERE", "np.sum(HERE, axis=0)", "HERE - HERE.mean()", "HERE[0]",
    "HERE @ größe", "HERE > 0", "HERE / len(x)", "HERE if HERE else x", "x ** HERE", "not HERE", "1 - (HERE - 1)", "HERE(x)",
]  # fmt: skip


def expressions(tree):
    """What is read for its value; f-strings and slices aside."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            body = node.body if isinstance(node.body, list) else [node.body]
            for part in body:
                for one in ast.walk(part):
                    slices = any(isinstance(part, ast.Slice) for part in ast.iter_child_nodes(one))
                    value = isinstance(one, ast.expr) and not isinstance(one, (ast.Slice, ast.Starred))
                    if value and not slices and isinstance(getattr(one, "ctx", ast.Load()), ast.Load):
                        yield one


NODES = list({id(node): node for node in expressions(TREE)}.values())


def meant(node, new):
    """The tree of the corpus with one node replaced, made in another way: the node is renamed in the text's tree."""

    class Replace(ast.NodeTransformer):
        def visit(self, one):
            return new if one is node else super().visit(one)

    at = next(n for n, one in enumerate(ast.walk(TREE)) if one is node)
    tree = copy.deepcopy(TREE)
    node = list(ast.walk(tree))[at]
    new = copy.deepcopy(new)
    return ast.dump(Replace().visit(tree))


def outside(text, made, places):
    """The text before the first place and after the last is as it was."""
    lines = [line.encode() for line in text.split("\n")]
    first, start, last, end = (*min(places)[:2], *max(places, key=lambda place: place[2:])[2:])
    head = b"\n".join([*lines[: first - 1], lines[first - 1][:start]])
    tail = b"\n".join([lines[last - 1][end:], *lines[last:]])
    made = made.encode()
    assert made.startswith(head) and made.endswith(tail) and len(made) >= len(head) + len(tail)
    return made[len(head) : len(made) - len(tail)].decode()


def place(node):
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


@given(st.sampled_from(NODES), st.sampled_from(TEMPLATES))
def test_any_expression_in_any_template(node, template):
    new = filled(template.replace("HERE", HERE), node, "np")
    made = spelled(CORPUS, TREE, [(node, new)])
    expected = meant(node, new)
    if made is None:  # no double minus is written
        words = template.replace("HERE", ast.get_source_segment(CORPUS, node))
        before = CORPUS.encode().split(b"\n")[node.lineno - 1][: node.col_offset].rstrip()
        number = isinstance(node, ast.Constant) and template == "HERE.T"  # 0.T is none
        assert number or "--" in words.replace(" ", "") or before.endswith(b"-")
        return
    assert ast.dump(ast.parse(made.text)) == expected
    words = outside(CORPUS, made.text, [place(node)])
    (piece,) = made.pieces
    assert piece.words == words
    for line, before, after in changes(CORPUS, made.text):
        there = " ".join("\n".join(CORPUS.split("\n")[line - 1 :]).split())
        assert node.lineno <= line <= node.end_lineno and " ".join(before.split()) in there and before != after
        assert " ".join(after.split()) in " ".join(made.text.split())
    own = ast.get_source_segment(CORPUS, node)
    assert own in words  # the reader's own part is as it was written


@given(st.sampled_from(NODES), st.sampled_from(NODES))
def test_two_expressions_at_once(one, other):
    edits = [(node, filled(f"x * {HERE}", node, "np")) for node in (one, other)]
    (a, b, c, d), (e, f, g, h) = place(one), place(other)
    apart = (c, d) <= (e, f) or (g, h) <= (a, b)
    tops = [next(top for top in TREE.body if top.lineno <= node.lineno <= top.end_lineno) for node in (one, other)]
    if not apart or tops[0] is not tops[1]:
        return
    made = spelled(CORPUS, TREE, edits)
    assert made is not None
    tree = ast.parse(made.text)
    assert ast.unparse(tree).count("x * ") == ast.unparse(TREE).count("x * ") + 2
    outside(CORPUS, made.text, [place(one), place(other)])


def test_brackets_stand_where_they_are_needed_alone():
    def edited(text, old, template):
        tree = ast.parse(text)
        node = next(one for one in ast.walk(tree) if isinstance(one, ast.expr) and ast.unparse(one) == old)
        return spelled(text, tree, [(node, filled(template.replace("E", HERE), node, "np"))]).text

    assert edited("y = a + b", "a + b", "2 * E") == "y = 2 * (a + b)"
    assert edited("y = (a + b)", "a + b", "2 * E") in ("y = (2 * (a + b))", "y = 2 * (a + b)")
    assert edited("y = a * b", "a * b", "2 * E") in ("y = 2 * a * b", "y = 2 * (a * b)")
    assert edited("y = a * b", "b", "b - 1") == "y = a * (b - 1)"
    assert edited("y = a ** b", "a", "-E") == "y = (-a) ** b"
    assert edited("y = a.T", "a", "a + E") == "y = (a + a).T"
    assert edited("y = f(a, b)", "a", "E + 1") == "y = f(a + 1, b)"
    assert edited("y = a - b", "b", "b + c") == "y = a - (b + c)"
    assert edited("y = π*a", "a", "E.T") == "y = π*a.T"


def test_a_change_is_told_with_what_stands_around_it():
    def told(text, old, new):
        return changes(text, text.replace(old, new))

    for text, old, new, lines in (
        ("y = πα @ (aa + bb)  # é", "aa", "cc", [1]),
        ("x\ny = f(a)\nz = g(b, c)", "b, c", "c, b", [3]),
        ("y = f(a)\nz = 1\nw = g(a)", "(a)", "(a.T)", [1, 3]),
        ("y = (aa +\n     bb)\nz = 1", "bb", "cc", [2]),
        ("    y = some_function(another_name) + a_third_name * 2", "2", "3", [1]),
    ):
        source = f"if x:\n{text}" if text[0] == " " else text
        found = changes(source, source.replace(old, new))
        assert [line - (source != text) for line, _, _ in found] == lines
        for line, before, after in found:
            here, there = source.split("\n")[line - 1], source.replace(old, new).split("\n")[line - 1]
            assert here.replace(before, after) == there and len(before) > len(old)
    assert told("y = πα @ (aa + bb)  # é", "aa", "cc") == [(1, "πα @ (aa + bb)", "πα @ (cc + bb)")]
    assert told("x = 1", "1", "1") == []


def test_no_double_minus():
    for text, old in (("y = -a", "a"), ("y = b - a", "a"), ("y = b - -a", "b")):
        tree = ast.parse(text)
        node = next(one for one in ast.walk(tree) if isinstance(one, ast.Name) and one.id == old)
        made = spelled(text, tree, [(node, filled(f"-{HERE}", node, "np"))])
        assert made is None or "--" not in made.text.replace(" ", "").replace("--a", "", old == "b")


def test_the_files_name_of_numpy():
    node = ast.Name("a", ast.Load())
    assert ast.unparse(filled(f"np.sum({HERE})", node, "numpy")) == "numpy.sum(a)"
    assert ast.unparse(filled(f"{HERE}.T", node, "")) == "a.T"
    with pytest.raises(ValueError, match="no name for NumPy"):
        filled(f"np.sum({HERE})", node, "")


def test_statements_come_and_go():
    text = "def f(x):\n\ty = x  # one\n\n\tz = 2; w = 3\n\treturn y\n"
    function = ast.parse(text).body[0]
    first, second, third, last = function.body
    assert left_out(text, first).text == "def f(x):\n\n\tz = 2; w = 3\n\treturn y\n"
    assert changes(text, left_out(text, first).text) == [(2, "y = x # one", "")]
    new = ast.parse("y += w").body[0]
    for one in ast.walk(new):
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            one.__dict__.pop(name, None)
    made = inserted(text, first, new)
    assert made.text == "def f(x):\n\ty = x  # one\n\ty += w\n\n\tz = 2; w = 3\n\treturn y\n"
    assert changes(text, made.text) == [(3, "", "y += w")]
    assert inserted(text, second, new) is None and inserted(text, third, new) is None
    assert left_out("x = 1", ast.parse("x = 1").body[0]) is None
    del last


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6), st.text("aé\n", max_size=3)), max_size=4))
def test_pieces_are_put_in_at_once(drawn):
    text = "äbc def\nghi jklöü\nmno\n pqr stu"
    data = text.encode()
    starts = [0] + [n + 1 for n, byte in enumerate(data) if byte == 10]

    def position(offset):
        line = max(n for n, start in enumerate(starts) if start <= offset)
        return line + 1, offset - starts[line]

    letters = [n for n, byte in enumerate(data) if byte & 0xC0 != 0x80] + [len(data)]
    spans = sorted((letters[min(a, len(letters) - 1)], letters[min(a + n, len(letters) - 1)], w) for a, n, w in drawn)
    pieces = [Piece((*position(a), *position(b)), words, 0) for a, b, words in spans]
    made = put_together(text, pieces[::-1])
    overlap = any(b > c for (_, b, _), (c, _, _) in itertools.pairwise(spans))
    assert (made is None) == overlap
    if not overlap and len({a for a, _, _ in spans}) == len(spans):
        expected = data
        for a, b, words in reversed(spans):
            expected = expected[:a] + words.encode() + expected[b:]
        assert made == expected.decode()


# ---- whole files

LOSS = "import numpy as np\ndef loss(x): return np.sum(x**3)\n"
GRAD = "def grad(x):\n    return 2 * x**2\n"
STRANGE = {
    "tabs": LOSS + "def grad(x):\n\tu = 2  *  x**2 ; # tab\t\n\treturn  u\n",
    "form feed": f"{LOSS}\x0c\n{GRAD}",
    "line separator": f"{LOSS}# a\u2028b \x1c c\n{GRAD}",
    "letters": LOSS.replace("x", "ξ") + "def grad(ξ):\n    größe = 'äöü'; return 2 * ξ**2  # ½ ξ\n",
    "lines": LOSS + "def grad(x):\n  return ( 2 # two\n    * x # x\n      **\n  2)\n",
    "no last newline": LOSS + GRAD.rstrip(),
    "other name": LOSS.replace("np", "xp") + GRAD,
    "backslash": LOSS + "def grad(x):\n    return 2 \\\n        * x**2\n",
    "byte order mark": f"\ufeff{LOSS}{GRAD}",
    "latin": f"# coding: latin-1\n{LOSS}# Größe\n{GRAD}",
    "returns": (LOSS + GRAD).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_file(name, tmp_path):
    text = STRANGE[name]
    path = tmp_path / "strange.py"
    path.write_bytes(text.encode("latin-1" if name == "latin" else "utf-8"))
    spec = importlib.util.spec_from_file_location("strange", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    mending = nlicl.audit_gradient(module.loss, module.grad, np.array([0.4, -1.2, 0.7]), mend=4).searches[0].mending()
    assert mending.repairs, mending.note
    read = text.lstrip("\ufeff").replace("\r\n", "\n")
    for repair in mending.repairs:
        right_everywhere(module.loss, repair.function, np.array([0.4, -1.2, 0.7]))
        head, tail = read.index("def grad"), len(read) - read.index("2 ")
        assert repair.text.startswith(read[:head]) and len(repair.text) > len(read) - tail
        assert read.split("\n")[repair.changes[0].line - 1] != repair.text.split("\n")[repair.changes[0].line - 1]
        scope = {}
        exec(compile(repair.text, "strange", "exec"), scope)
        right_everywhere(scope["loss"], scope["grad"], np.array([0.4, -1.2, 0.7]))
        if name != "no last newline":
            assert patched(read, repair.diff) == repair.text
    assert path.read_bytes() == text.encode("latin-1" if name == "latin" else "utf-8")
