//! Texts that try to break out of the page, the feed, or the line.

use serde_json::Value;

use crate::document::{Element, html, xml};
use crate::support::{ID, Pages, comment_with, post_with, tell_of};

/// The elements that the service itself writes, and the template's.
const ELEMENTS: &str = "a article aside bdi blockquote body code div em footer h1 h2 head header html img li link main \
                        meta nav noscript ol p pre script section span strong time title ul";

fn attacks() -> Vec<String> {
    let mut attacks: Vec<String> = [
        "</script><script>alert(1)</script>",
        "</title></noscript></div><img src=x onerror=alert(1)>",
        "\" onmouseover=\"alert(1)\" x=\"' onfocus='alert(1)",
        "<!--body--> <!--/body--> <!--head--> --> <![CDATA[ ]]> ]]>",
        "&lt;b&gt; &amp;amp; &#x3c;script&#x3e; &nonsense; &",
        "\u{202E}txt.exe\u{202C} \u{2066}isolated",
        "tab\tline\r\nline\rline\u{2028}line\u{85}",
        "\u{0}\u{1}\u{8}\u{B}\u{C}\u{E}\u{1F}\u{7F}\u{9B}\u{FFFE}\u{FFFF}\u{FDD0}",
        "{{7*7}} ${7*7} <%= 7*7 %> javascript:alert(1)",
        "😀 e\u{301} \u{FEFF}bom",
    ]
    .map(str::to_owned)
    .to_vec();
    attacks.push("w".repeat(5_000));
    attacks.push("<&\">".repeat(5_000));
    attacks.push("ö ".repeat(10_000));
    attacks
}

/// In Markdown, of which a reader does not see all that was typed.
fn marked_attacks() -> Vec<String> {
    let mut attacks: Vec<String> = [
        "[x](javascript:alert(1)) <javascript:alert(1)> ![x](data:text/html,<script>alert(1)</script>)",
        "[x](JaVaScRiPt:alert(1)) [x](java\nscript:alert(1)) [x](\u{1}javascript:alert(1)) [x](//evil.example)",
        "**</strong><script>alert(1)</script>** _</em><img src=x onerror=alert(1)>_",
        "`</code><script>alert(1)</script>` ``` </pre><script>",
        "```\n</code></pre><script>alert(1)</script>\n```",
        "[\"><script>alert(1)</script>](https://a.example/\"onmouseover=alert(1))",
        "[a](https://a.example \"t\\\" onclick=\\\"alert(1)\") [b](<https://b.example/\"><img src=x>>)",
        "https://a.example/\"><script>alert(1)</script> https://a.example/'onmouseover='alert(1)",
        "[https://bank.example](https://evil.example/<img>) [x](https://bank.example@evil.example/)",
        "[![a](https://a.example/b.png)](https://c.example) [<https://d.example>](https://e.example)",
        "[a [b](https://f.example)](https://g.example) ![a [b](https://f.example)](https://g.example)",
        "> </blockquote></div>\n> - </li></ul><script>alert(1)</script>",
        "# </h1><script>alert(1)</script>",
        "www.a.example/\u{202E}gpj.exe a\0@b.example **\u{0}**",
    ]
    .map(str::to_owned)
    .to_vec();
    for part in ["> ", "- ", "**a ", "[", "[a](", "`", "<https://a.example>"] {
        attacks.push(part.chars().cycle().take(5_000).collect());
    }
    attacks
}

/// What a reader is to see of a text.
fn seen(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let replaced = |c: char| {
        let stays = c == '\n' || c == '\t' || !c.is_control();
        let stays = stays && !matches!(c, '\u{FFFE}' | '\u{FFFF}' | '\u{FDD0}');
        if stays { c } else { '\u{FFFD}' }
    };
    lines.chars().map(replaced).collect()
}

#[tokio::test]
async fn no_text_breaks_out_of_a_page() {
    let marked = marked_attacks();
    for attack in attacks().into_iter().chain(marked.clone()) {
        // Each attack is a page of its own: nothing is kept.
        let pages = Pages::with(&["--rendered-time=0s"]).await;
        let (post, comment) = (
            post_with(&attack, &attack, &attack),
            comment_with(&attack, &attack),
        );
        tell_of(&pages.graph, &post, &comment);
        for path in [
            "/".to_owned(),
            "/?after=c".to_owned(),
            format!("/posts/{ID}"),
            format!("/posts/{ID}?after=c"),
        ] {
            let text = pages.text(&path, 200).await;
            let elements = html(&text);
            let scripts: Vec<_> = elements.iter().filter(|it| it.name == "script").collect();
            assert_eq!(scripts.len(), 1, "{path}: {attack:.60}");
            assert_eq!(scripts[0].attribute("src"), Some("/assets/index-1.js"));
            for element in &elements {
                assert!(
                    ELEMENTS.split(' ').any(|it| it == element.name),
                    "{}",
                    element.name
                );
                for (name, value) in &element.attributes {
                    assert!(!name.starts_with("on"), "{path}: {name}");
                    let is_link = name == "href" || name == "src";
                    let is_readers = element.attribute("rel") == Some("nofollow ugc noopener");
                    assert!(
                        !is_link
                            || is_readers && value.starts_with("https://") && !value.contains('@')
                            || is_readers && value.starts_with("http://www.a.example/")
                            || !is_readers && value.starts_with(['/', '#'])
                            || value.starts_with("http://127.0.0.1:"),
                        "{value}"
                    );
                }
            }
            let titles = elements.iter().filter(|it| it.name == "title");
            assert_eq!(titles.count(), 1, "{path}");
            let title = elements.iter().find(|it| it.name == "title").expect("one");
            assert!(title.text.chars().count() < 150, "{}", title.text);
            assert!(!title.text.contains(['\u{202E}', '\n']), "{:?}", title.text);
        }

        let elements = html(&pages.text(&format!("/posts/{ID}"), 200).await);
        if !marked.contains(&attack) {
            // All of it is seen, but for the marks of emphasis.
            let is_class = |it: &Element, class: &str| {
                it.attribute("class")
                    .is_some_and(|it| it.starts_with(class))
            };
            let text = elements
                .iter()
                .skip_while(|it| !is_class(it, "text") || it.name == "a");
            let text: String = text
                .take_while(|it| !is_class(it, "comment-foot"))
                .map(|it| it.text.as_str())
                .collect();
            assert_eq!(text.replace('*', ""), seen(&attack).replace('*', ""));
        }
        let heading = elements
            .iter()
            .find(|it| it.name == "h1")
            .expect("a heading");
        assert_eq!(heading.text, seen(&attack));
        // What the live page starts from is what the graph said.
        let root = elements
            .iter()
            .find(|it| it.attribute("id") == Some("root"));
        let start = root.and_then(|root| root.attribute("data-start"));
        let is_short = attack.len() < 5_000;
        assert_eq!(
            start.is_some(),
            is_short || attack.starts_with('w') || marked.contains(&attack),
            "{attack:.60}"
        );
        if let Some(start) = start {
            let start: Value = serde_json::from_str(start).expect("JSON");
            assert_eq!(start["start"]["chosen"], post);
            let comments = &start["comments"]["chosen"]["comments"];
            assert_eq!(comments["edges"][0]["node"], comment);
        }
    }
}

#[tokio::test]
async fn no_text_breaks_a_feed() {
    for attack in attacks() {
        let pages = Pages::with(&["--rendered-time=0s"]).await;
        let (post, comment) = (
            post_with(&attack, &attack, &attack),
            comment_with(&attack, &attack),
        );
        tell_of(&pages.graph, &post, &comment);
        let feed = xml(&pages.text("/feed.atom", 200).await);
        let excerpt: String = attack.chars().take(200).collect();
        assert!(
            feed.contains(&("summary".to_owned(), seen(&excerpt))),
            "{feed:?}"
        );
        let feed = xml(&pages.text(&format!("/posts/{ID}/feed.atom"), 200).await);
        assert!(
            feed.contains(&("content".to_owned(), seen(&attack))),
            "{attack:.60}"
        );
        for (element, text) in feed.iter().filter(|(it, _)| it == "title" || it == "name") {
            let is_line = !text.contains(['\n', '\u{202E}', '\u{2066}']);
            assert!(is_line && text.chars().count() < 300, "{element}: {text:?}");
        }
    }
}
