//! What becomes of HTML.

use super::*;

fn source(lines: Lines) -> Source<'static> {
    Source {
        lines,
        base: None,
        has_shortcodes: true,
    }
}

fn blanks(html: &str) -> String {
    to_markdown(html, source(Lines::AsBlanks), usize::MAX)
}

fn typed(html: &str) -> String {
    to_markdown(html, source(Lines::AsTyped), usize::MAX)
}

#[test]
fn paragraphs_and_lines() {
    for (html, markdown) in [
        (
            "<p>One\ntwo</p>\n\n<p>Three<br />four</p>",
            "One two\n\nThree\nfour",
        ),
        ("<div>a</div><div>b</div>", "a\n\nb"),
        ("a<br><br>b", "a\n\nb"),
        ("  <p> </p>\n<p>a</p> ", "a"),
        ("a&nbsp;&nbsp;b\tc", "a b c"),
        (
            "<h2>A <em>title</em><br>of two</h2><p>b</p>",
            "## A *title* of two\n\nb",
        ),
        ("a<hr>b", "a\n\n---\n\nb"),
        (
            "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>c",
            "a | b\n1 | 2\n\nc",
        ),
        ("", ""),
    ] {
        assert_eq!(blanks(html), markdown, "{html}");
    }
    assert_eq!(typed("One\ntwo\r\n\r\n\r\nthree"), "One\ntwo\n\nthree");
    assert_eq!(typed("\n\n<p>a</p>\n\nb\n"), "a\n\nb");
}

#[test]
fn marks_stand_close_to_their_words() {
    for (html, markdown) in [
        ("<b>a</b> <strong> b </strong>c", "**a** **b** c"),
        ("<em>a <b>b</b></em>", "*a **b***"),
        ("x<i>y</i>z", "x*y*z"),
        ("<b></b><i> </i>a", "a"),
        ("<b>a<i>b</b>c</i>", "**a*b***_c_"),
        ("<b><p>a</p><p>b</p></b>", "**a**\n\n**b**"),
        ("<b>a<b>b</b>", "**ab**"),
        ("<del>a</del>", "~~a~~"),
        ("a</b></a></li></blockquote></pre>", "a"),
    ] {
        assert_eq!(blanks(html), markdown, "{html}");
    }
}

#[test]
fn links_lead_to_the_web_and_to_mailboxes_alone() {
    for (html, markdown) in [
        (
            "<a href='https://a.example/x_(y)'>a b</a>",
            "[a b](https://a.example/x_%28y%29)",
        ),
        (
            "<a href='https://a.example/x'>https://a.example/x</a>",
            "https://a.example/x",
        ),
        (
            "<a href='https://a.example'>https://a.example</a>s",
            "https://a.example s",
        ),
        (
            "<a href='mailto:a@b.example'>a@b.example</a>",
            "a@b.example",
        ),
        ("<a href=' javascript:alert(1)'>a</a>", "a"),
        ("<a href='JaVa&#x0A;script:alert(1)'>a</a>", "a"),
        ("<a href='data:text/html,x'>a</a>", "a"),
        ("<a href='//a.example'>a</a>", "a"),
        ("<a href='/x'>a</a><a>b</a><a href='#c'>c</a>", "abc"),
        (
            "<a href='https://a.example/?a=1&amp;b=[2]'>[a]</a>",
            "[\\[a\\]](https://a.example/?a=1&b=[2])",
        ),
        (
            "<a href='https://a.example/'><p>a</p><p>b</p></a>",
            "[a](https://a.example/)\n\n[b](https://a.example/)",
        ),
        (
            "<img src='https://a.example/i.png' alt='A [b]'>",
            "![A \\[b\\]](https://a.example/i.png)",
        ),
        ("<img src='x' class='wp-smiley emoji' alt='😀'>", "😀"),
        (
            "<iframe src='https://v.example/1'>no</iframe>a",
            "https://v.example/1\n\na",
        ),
    ] {
        assert_eq!(blanks(html), markdown, "{html}");
    }
    let base = Url::parse("https://a.example/2020/post/").expect("an address");
    let source = Source {
        base: Some(&base),
        ..source(Lines::AsBlanks)
    };
    let html = "<a href='../x'>a</a>";
    assert_eq!(
        to_markdown(html, source, 100),
        "[a](https://a.example/2020/x)"
    );
}

#[test]
fn scripts_go_with_all_that_is_in_them() {
    for html in [
        "a<script>alert('<p>x</p>')</script>b",
        "a<style>p { }</style>b",
        "a<svg><script>x</script><text>x</text></svg>b",
        "a<template>x<template>y</template>z</template>b",
        "a<!-- x -->b",
        "a<object>x</object>b",
    ] {
        assert_eq!(blanks(html), "ab", "{html}");
        assert_eq!(to_plain(html), "ab", "{html}");
    }
    assert_eq!(blanks("a<script>never ended <p>b"), "a");
}

#[test]
fn quotes_and_lists_mark_their_lines() {
    for (html, markdown) in [
        (
            "<blockquote><p>a</p><p>b<br>c</p></blockquote>d",
            "> a\n>\n> b\n> c\n\nd",
        ),
        ("a<blockquote>b</blockquote>", "a\n\n> b"),
        (
            "<blockquote>a<blockquote>b</blockquote>c</blockquote>",
            "> a\n>\n> > b\n>\n> c",
        ),
        ("<ul><li>a</li><li>b</li></ul>c", "- a\n- b\n\nc"),
        (
            "<ol start=3><li>a<li>b<ul><li>c</ul></ol>",
            "3. a\n4. b\n   - c",
        ),
        ("<ul>\n<li>a</li>\n<li></li>\n<li>b</li>\n</ul>", "- a\n- b"),
        ("<li>a</li>", "- a"),
        (
            "<ul><li><blockquote>a<br>b</blockquote></li></ul>",
            "- > a\n  > b",
        ),
    ] {
        assert_eq!(blanks(html), markdown, "{html}");
    }
}

#[test]
fn code_stays_as_it_is() {
    for (html, markdown) in [
        ("a <code>x *y* `z</code>", "a ``x *y* `z``"),
        ("<code>`x`</code>", "`` `x` ``"),
        (
            "<pre><code>fn a() {\n    *b\n}\n</code></pre>c",
            "```\nfn a() {\n    *b\n}\n```\n\nc",
        ),
        ("<pre>```</pre>", "````\n```\n````"),
        (
            "<blockquote><pre>a\nb</pre></blockquote>",
            "> ```\n> a\n> b\n> ```",
        ),
        ("<pre> </pre><code></code>", ""),
    ] {
        assert_eq!(blanks(html), markdown, "{html}");
    }
}

#[test]
fn what_was_no_markup_becomes_none() {
    for (html, markdown) in [
        (
            "*a* 2 * 3 _b_ snake_case_x `c`",
            "\\*a\\* 2 * 3 \\_b\\_ snake_case_x \\`c\\`",
        ),
        ("# a", "\\# a"),
        ("#a", "#a"),
        ("&gt; a", "\\> a"),
        (
            "- a<br>-- b<br>+ c<br>* d<br>1. e<br>=== f",
            "\\- a\n\\-- b\n\\+ c\n\\* d\n1\\. e\n\\=== f",
        ),
        ("[a](https://b.example) [1]", "[a\\](https://b.example) [1]"),
        ("&lt;script&gt; a &lt; b &lt;3", "\\<script> a < b <3"),
        ("a \\* \\b", "a \\\\\\* \\b"),
        (
            "https://a.example/_b_*c* _d_",
            "https://a.example/_b_*c* \\_d\\_",
        ),
        ("&amp;lt;", "&lt;"),
    ] {
        assert_eq!(blanks(html), markdown, "{html}");
    }
}

#[test]
fn placeholders_go_and_what_they_contain_stays() {
    let html = "[caption id=\"a\" width=\"9\"]A cat[/caption] [gallery ids=\"1,2\"] [sic] [caption";
    assert_eq!(typed(html), "A cat [sic] [caption");
}

#[test]
fn control_characters_go() {
    assert_eq!(typed("a\u{0}\u{8}b\u{1B}[1m"), "ab[1m");
    assert_eq!(blanks("<pre>a\u{7}b</pre>"), "```\nab\n```");
    assert_eq!(
        to_plain(" O&#8217;Brien &amp;\n<b>Co</b>\u{0} "),
        "O’Brien & Co"
    );
}

/// Neither time nor space grows faster than the text.
#[test]
fn hostile_texts_stay_small() {
    let many = |html: &str| html.repeat(100_000 / html.len());
    for html in [
        "<b>",
        "<blockquote>a",
        "<ul><li>",
        "<ul><li>a",
        "<a href=https://a.example>",
        "<a href=https://a.example>a<p>",
        "<pre>",
        "<code>a",
        "</p>",
        "*_`[",
        "<b><i>a</b>",
        "[caption",
        "<table><tr><td>",
        "a<br>",
        "<svg>",
        "&lt;!--",
    ] {
        let (html, name) = (many(html), html);
        let start = std::time::Instant::now();
        let length = blanks(&html).len();
        assert!(length <= 4 * html.len(), "{name}: {length}");
        // Debug builds on a busy machine take some tens of milliseconds; what is quadratic takes minutes.
        assert!(start.elapsed().as_secs() < 10, "{name}");
        let cut = to_markdown(&html, source(Lines::AsTyped), 1_000).len();
        // A single word is read to its end.
        assert!(cut < 3_000 || cut <= length, "{name}: {cut}");
    }
}
