#!/usr/bin/env python3
"""Checks the relative links of all Markdown files: the file exists, and so does the heading of an anchor.

Prints each broken link with its place, and exits with 1 if there is one. Other sites are not asked.
"""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(\s*)(```|~~~)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
INLINE_CODE = re.compile(r"`[^`]*`")
LINKS = (
    re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)"),
    re.compile(r"^\s{0,3}\[[^\]]+\]:\s*(\S+)"),
    re.compile(r"\b(?:src|srcset|href)=\"([^\"]+)\""),
)
OTHER_SITE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


def prose(path):
    """The lines outside fenced code, with their numbers."""
    is_code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if FENCE.match(line):
            is_code = not is_code
        elif not is_code:
            yield number, line


@cache
def anchors(path):
    """The anchors of a page's headings, as GitHub forms them."""
    found = {}
    for _, line in prose(path):
        heading = HEADING.match(line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            count = found[slug] = found.get(slug, -1) + 1
            if count:
                found[f"{slug}-{count}"] = 0
    return set(found)


def fault(page, link):
    """What is wrong with a link; nothing if it leads somewhere."""
    target, _, anchor = unquote(link).partition("#")
    path = page if not target else (ROOT / target[1:] if target.startswith("/") else page.parent / target)
    path = path.resolve()
    if not path.is_relative_to(ROOT):
        return "leads out of the repository"
    if not path.exists():
        return "is missing"
    if anchor and path.suffix == ".md" and anchor not in anchors(path):
        return f"has no heading #{anchor}"
    return None


def main():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    pages = sorted({ROOT / name for name in listed.stdout.splitlines()})
    faults = checked = 0
    for page in filter(Path.exists, pages):
        for number, line in prose(page):
            line = INLINE_CODE.sub("", line)
            for link in (link for pattern in LINKS for link in pattern.findall(line)):
                if OTHER_SITE.match(link):
                    continue
                checked += 1
                if problem := fault(page, link):
                    faults += 1
                    print(f"{page.relative_to(ROOT)}:{number}: {link} {problem}")
    print(f"{checked} links in {len(pages)} pages, {faults} broken")
    return 1 if faults or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
