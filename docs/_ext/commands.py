"""The reference of commands, from the command line's own parser: it cannot drift."""

import argparse
import re
import textwrap
from collections.abc import Iterator

from made import write
from sphinx.application import Sphinx

INTRODUCTION = """\
# Commands

Every command has `--help`. What stands here is the same text: it is made from the parser of the command line.
"""
WIDTH = 78  # of usage lines: what a block of code shows without scrolling


def page() -> str:
    """The page, as Markdown."""
    from nlicl.cli import _parser

    parser = _parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    about = {action.dest: action.help or "" for action in commands._choices_actions}
    lines = [INTRODUCTION, *ending(parser.epilog), ""]
    for name, command in commands.choices.items():
        description = (command.description or about.get(name, "")).strip().splitlines()
        lines += [f"## nlicl {name}", "", "\\\n".join(map(plain, description)), ""]  # each line stays one
        lines += [block(usage(command)), ""]
        for group in command._action_groups:
            rows = list(arguments(command, group))
            if rows:
                title = begun((group.title or "").replace("positional arguments", "arguments"))
                lines += [f"**{title}**", "", "| | |", "|---|---|", *rows, ""]
        lines += [*ending(command.epilog), ""]
    return "\n".join(lines)


CODE, TABLE, TEXT = r"(?:    .*\n|\n(?=    ))+", r"\S.*\n(?:  \S.*\n)+", r"(?:\S.*\n)+"


def ending(epilog: str | None) -> Iterator[str]:
    """The end of a help: lines of code, four spaces in; a heading with lines `  what one types  what it does`, which become
    a table; and text.
    """
    for part in re.findall(f"^(?:{CODE}|{TABLE}|{TEXT})", f"{epilog or ''}\n", re.MULTILINE):
        heading, *lines = part.splitlines()
        if re.fullmatch(CODE, part):
            yield from ["", block(textwrap.dedent(part)), ""]
        elif re.fullmatch(TABLE, part):
            rows = [re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines]
            yield from ["", f"**{begun(plain(heading.rstrip(':')))}**", "", "| | |", "|---|---|"]
            yield from (f"| `{cell(first)}` | {cell(plain(' '.join(rest)))} |" for first, *rest in rows)
        else:
            yield from ["", begun(plain(part)), ""]


def usage(command: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(command.prog, width=WIDTH)
    formatter.add_usage(command.usage, command._actions, command._mutually_exclusive_groups, prefix="")
    return formatter.format_help()


def arguments(command: argparse.ArgumentParser, group: argparse._ArgumentGroup) -> Iterator[str]:
    """A row of a table for each argument of a group."""
    formatter = command._get_formatter()
    for action in group._group_actions:
        if action.help != argparse.SUPPRESS:
            name = formatter._format_action_invocation(action)
            said = formatter._expand_help(action) if action.help else ""
            yield f"| `{cell(name)}` | {cell(plain(said))} |"


def plain(text: str) -> str:
    """Text of a help as Markdown: nothing in it is markup, and what looks like a name on the command line is code."""
    text = re.sub(r"([\\`*_<>$\[\]])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<![\w-])(--[a-z][\w-]*)", r"`\1`", text)


def begun(text: str) -> str:
    """With a capital at its beginning; others stay."""
    return text[:1].upper() + text[1:]


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def block(text: str) -> str:
    return f"```text\n{text.strip(chr(10))}\n```"


def make(app: Sphinx) -> None:
    write("reference", {"commands.md": page()})


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", make)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
