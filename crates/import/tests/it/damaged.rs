//! Files that are damaged, or meant to do harm: an error with its place, and nothing is written.

use bson::doc;
use import::tally::{Skip, get};

use crate::case::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    let case = Case::new().await;
    let whole = WORDPRESS.trim_end();
    let step = whole.len() / 40;
    for end in (1..40).map(|part| part * step).chain([whole.len() - 1]) {
        let end = whole.floor_char_boundary(end);
        let refusal = case.refusal(&whole[..end]).await;
        assert!(refusal.contains("export.xml, line "), "{refusal}");
    }
    let cut = whole.find("A draft").expect("there");
    let line = whole[..cut].lines().count();
    let refusal = case.refusal(&whole[..cut + 3]).await;
    let place = format!(
        "line {line}, byte {}: the file ends inside <title>",
        cut + 3
    );
    assert!(refusal.contains(&place), "{refusal}");
    let cut = DISQUS.find("Why?").expect("there");
    let refusal = case.refusal(&DISQUS[..cut]).await;
    assert!(refusal.contains("ends inside <message>"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_kinds_of_files_are_refused() {
    let case = Case::new().await;
    let wxr2 = WORDPRESS.replace("<wp:wxr_version>1.2<", "<wp:wxr_version>2.0<");
    let feed = "<rss><channel><title>a</title><item><title>b</title></item></channel></rss>";
    for (content, refusal) in [
        ("", "the file is empty"),
        ("  \n", "the file is empty"),
        ("{\"a\": 1}", "<{\"a\": 1}> is neither"),
        ("<html><body></body></html>", "<html> is neither"),
        (feed, "no <wp:wxr_version>"),
        ("<rss></rss>", "no <wp:wxr_version>"),
        (wxr2.as_str(), "version \"2.0\""),
        ("<rss><channel></rss>", "no XML"),
        ("<disqus></disqus><disqus>", "ends inside <disqus>"),
        ("\u{1F}\u{8B}\u{8}", "is neither"),
        ("PK\u{3}\u{4}", "is neither"),
    ] {
        let told = case.refusal(content).await;
        assert!(told.contains(refusal), "{told}");
    }
    let missing = case.write("").with_file_name("none.xml");
    let (outcome, _) = run(&case.database, &missing, &[]).await;
    let told = outcome.expect_err("no file").to_string();
    assert!(told.contains("cannot be read"), "{told}");
    let folder = missing.parent().expect("a folder");
    let (outcome, _) = run(&case.database, folder, &[]).await;
    let told = outcome.expect_err("a folder").to_string();
    assert!(told.contains("cannot be read"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_encodings_are_refused_with_the_place() {
    let case = Case::new().await;
    let latin = WORDPRESS.replacen("UTF-8", "ISO-8859-1", 1);
    let refusal = case.refusal(latin).await;
    assert!(refusal.contains("line 1, byte 0: "), "{refusal}");
    assert!(refusal.contains("iconv -f ISO-8859-1"), "{refusal}");
    for invalid in [&b"\xFF"[..], b"\xC3", b"\xED\xA0\x80", b"\xC0\x80"] {
        let at = WORDPRESS.find("A reply.").expect("there");
        let mut content = WORDPRESS.as_bytes().to_vec();
        content.splice(at..at, invalid.iter().copied());
        let refusal = case.refusal(content).await;
        let line = WORDPRESS[..at].lines().count();
        assert!(refusal.contains(&format!("line {line}, ")), "{refusal}");
        assert!(refusal.contains("not UTF-8"), "{refusal}");
    }
    let utf16: Vec<u8> = "\u{FEFF}<rss/>"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let refusal = case.refusal(utf16).await;
    assert!(refusal.contains("UTF-16"), "{refusal}");
    // A mark of the byte order is none of the text.
    let tally = case.import(format!("\u{FEFF}{WORDPRESS}")).await;
    assert_eq!(counts(&tally), [2, 3, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_are_never_expanded() {
    let case = Case::new().await;
    let entities: String = (1..10)
        .map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let file = "<!ENTITY f SYSTEM \"file:///etc/passwd\">";
    let comments = comment_xml(1, 0, "a &l9; &f; &#65;&lt;b&gt;B&lt;/b&gt;");
    let content = export_of(&comments);
    let content = format!("<!DOCTYPE rss [<!ENTITY l0 \"lol\">{entities}{file}]>{content}");
    case.import(content).await;
    let stored = case.find("comments", comment(SITE, "1")).await;
    let stored = stored.expect("imported");
    assert_eq!(stored.get_str("text").expect("there"), "a &l9; &f; A**B**");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nested_too_deep_or_too_long_is_refused() {
    let case = Case::new().await;
    let deep = format!("<rss><channel>{}", "<a>".repeat(1_000_000));
    let refusal = case.refusal(deep).await;
    assert!(refusal.contains("deeper than 64"), "{refusal}");
    let attribute = format!("<rss a=\"{}\">", "x".repeat(40 << 20));
    let refusal = case.refusal(attribute).await;
    assert!(refusal.contains("longer than 33554432 bytes"), "{refusal}");
    let long = format!(
        "<rss><channel>\n<a><![CDATA[{}]]></a>",
        "x".repeat(40 << 20)
    );
    let refusal = case.refusal(long).await;
    assert!(refusal.contains("line 2, byte 18: "), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_comments_are_imported_as_far_as_they_go() {
    let case = Case::new().await;
    let mut comments = comment_xml(1, 0, &"long ".repeat(100_000));
    // Parts of one text, which is no XML any more: browsers take the inner CDATA for a comment.
    comments += &comment_xml(
        2,
        0,
        "a<![CDATA[ <![CDATA[ b]]> ]]&gt; <![CDATA[</wp:comment>]]>",
    );
    comments += &comment_xml(3, 0, "a<b>not a text of the comment</b>");
    // Circles, and a parent that comes later.
    comments += &comment_xml(4, 5, "a");
    comments += &comment_xml(5, 4, "b");
    comments += &comment_xml(6, 7, "c");
    comments += &comment_xml(7, 0, "d");
    comments += &comment_xml(7, 6, "the same id");
    comments += "<wp:comment><wp:comment_id>8</wp:comment_id><wp:comment_content>e\u{8}\u{1F}</wp:comment_content>\
        <wp:comment_date>0000-00-00 00:00:00</wp:comment_date><wp:unknown><wp:comment_id>9</wp:comment_id></wp:unknown>\
        </wp:comment><wp:comment/><wp:comment><wp:comment_id></wp:comment_id></wp:comment>";
    let tally = case.import(export_of(&comments)).await;
    assert_eq!(counts(&tally), [1, 8, 2, 0]);
    assert_eq!(skipped(&tally), [(Skip::Duplicate, 1), (Skip::NoId, 2)]);
    assert_eq!((get(&tally.cut), get(&tally.undated)), (1, 1));
    let text = async |id: &str| {
        let stored = case.find("comments", comment(SITE, id)).await;
        stored.expect("imported")
    };
    let long = text("1").await;
    let long = long.get_str("text").expect("a text");
    assert!(
        long.ends_with("long\n\n…") && long.len() > 60 << 10,
        "{}",
        long.len()
    );
    assert_eq!(text("2").await.get_str("text").expect("there"), "a");
    assert_eq!(text("3").await.get_str("text").expect("there"), "a");
    assert_eq!(text("7").await.get_str("text").expect("there"), "d");
    assert_eq!(
        text("6").await.get_object_id("parentId").expect("there"),
        comment(SITE, "7")
    );
    let undated = text("8").await;
    assert_eq!(undated.get_str("text").expect("there"), "e");
    let of_post = bson::DateTime::from_millis(1_577_836_800_000);
    assert_eq!(undated.get_datetime("createdAt").expect("there"), &of_post);
    let replies = doc! { "parentId": { "$exists": true } };
    let comments = case.collection("comments");
    assert_eq!(comments.count_documents(replies).await.expect("counted"), 2);
}
