//! Texts that try to break out of the page, the feed, or the line.

use serde_json::Value;

use crate::document::{html, xml};
use crate::support::{ID, Pages, comment_with, post_with, tell_of};

/// The elements that the service itself writes, and the template's.
const ELEMENTS: &str = "a article aside bdi body div footer h1 h2 head header html img li link main meta nav noscript \
                        ol p script section span time title ul";

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
    for attack in attacks() {
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
                    assert!(
                        !is_link
                            || value.starts_with(['/', '#'])
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
        let text = elements
            .iter()
            .filter(|it| it.attribute("class") == Some("text"));
        let text = text.filter(|it| it.name == "p").map(|it| it.text.clone());
        assert_eq!(text.collect::<Vec<_>>(), [seen(&attack)]);
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
            is_short || attack.starts_with('w'),
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
