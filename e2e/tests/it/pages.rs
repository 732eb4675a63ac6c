//! The page service on the real graph, reached through the real gateway.

use e2e::{Service, System};
use serde_json::json;

use crate::PROGRAM;

const INDEX: &str = "<head><!--head--><!--/head--></head><body><!--body--><!--/body--></body>";
const HOSTILE: &str = "</p><script>alert(1)</script> \u{202E}& <b>";

#[tokio::test(flavor = "multi_thread")]
async fn posts_and_comments_are_rendered_from_the_graph() {
    let mut system = System::start(PROGRAM).await;
    let web = tempfile::tempdir().expect("a folder");
    std::fs::write(web.path().join("index.html"), INDEX).expect("written");
    let folder = web.path().to_str().expect("UTF-8");
    let settings = [
        ("WEB_DIR", folder),
        ("RENDERED_TIME", "0s"),
        ("RENDER_TIMEOUT", "20s"),
        ("PUBLIC_URL", "https://example.org"),
    ];
    system.run_with(Service::Pages, &settings).await;
    system.ready(Service::Pages).await;
    let pages_url = system.process(Service::Pages).url("");
    let forwarding = [
        ("WEB_DIR", folder),
        ("PAGES_URL", &*pages_url),
        ("PAGES_PATHS", &::pages::PATHS.join(",")),
        ("PAGES_TIMEOUT", "20s"),
    ];
    system.kill(Service::Gateway).await;
    system.run_with(Service::Gateway, &forwarding).await;
    system.ready(Service::Gateway).await;

    let post = system.graphql().create_post(HOSTILE).await;
    let mut comments = Vec::new();
    for number in 0..25 {
        let words = format!("{number} {HOSTILE}");
        comments.push(system.graphql().create_comment(&post, &words).await);
    }
    let origin = system.process(Service::Gateway).url("");
    let (http, path) = (reqwest::Client::new(), format!("/posts/{post}"));
    let get = async |path: &str| {
        let request = http
            .get(format!("{origin}{path}"))
            .header("accept", "text/html");
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let (status, page) = get(&path).await;
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>"),
        "{page}"
    );
    let canonical = format!("<link rel=\"canonical\" href=\"https://example.org{path}\">");
    assert!(page.contains(&canonical), "{page}");
    assert!(page.contains(&format!("id=\"comment-{}\"", comments[24])));
    assert!(!page.contains(&format!("id=\"comment-{}\"", comments[0])));

    // The way to the older ones.
    let (_, link) = page
        .split_once(&format!("href=\"{path}?after="))
        .expect("a link");
    let (cursor, _) = link.split_once('#').expect("its end");
    let (status, older) = get(&format!("{path}?after={cursor}")).await;
    assert_eq!(status, 200, "{older}");
    assert!(
        older.contains(&format!("id=\"comment-{}\"", comments[0])),
        "{older}"
    );
    assert_eq!(get(&format!("{path}?after=nonsense")).await.0, 404);
    assert_eq!(get("/?after=nonsense").await.0, 404);

    let (status, list) = get("/").await;
    assert!(
        status == 200 && list.contains(&format!("href=\"{path}\"")),
        "{list}"
    );
    for path in ["/feed.atom", &format!("{path}/feed.atom"), "/sitemap.xml"] {
        let (status, text) = get(path).await;
        assert!(status == 200 && text.contains(&post), "{path}: {text}");
    }
    for path in ["/posts/abc", "/posts/000000000000000000000000"] {
        let (status, text) = get(path).await;
        assert!(
            status == 404 && text.contains("Not found"),
            "{path}: {text}"
        );
    }
    system
        .graphql()
        .data(
            "mutation ($id: ID!) { deletePost(input: { id: $id }) { id } }",
            json!({ "id": post }),
        )
        .await;
    assert_eq!(get(&path).await.0, 404);

    // Without the service, the pages are plain and say nothing of what is there, and nothing else changes.
    system.kill(Service::Pages).await;
    for path in ["/", &path] {
        assert_eq!(get(path).await, (503, INDEX.to_owned()));
    }
    assert_eq!(get("/feed.atom").await.0, 503);
    system.graphql().create_post("Still there").await;
}
