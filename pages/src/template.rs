//! The built `index.html`, in which a page's head and body stand between marks.
//!
//! It is read for each rendering: a new build of the pages has other names of scripts, and takes effect at once.

use std::path::{Path, PathBuf};

use maud::Markup;

use crate::failure::Failure;

/// What stands between the marks of a pair is replaced.
const HEAD: [&str; 2] = ["<!--head-->", "<!--/head-->"];
const BODY: [&str; 2] = ["<!--body-->", "<!--/body-->"];
/// Larger than it ever is.
const BYTES_MAX: u64 = 256 * 1024;

/// Where the built `index.html` is.
#[derive(Clone, Debug)]
pub(crate) struct TemplateFile(PathBuf);

/// The text of `index.html`.
#[derive(Debug)]
pub(crate) struct Template(String);

impl TemplateFile {
    /// That of a folder of built pages.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self(folder.join("index.html"))
    }

    /// # Errors
    /// If there is none, or it lacks a mark.
    pub(crate) async fn read(&self) -> Result<Template, Failure> {
        let unreadable = |error: std::io::Error| Failure::Template(error.to_string());
        let file = tokio::fs::metadata(&self.0).await.map_err(unreadable)?;
        if file.len() > BYTES_MAX {
            return Err(Failure::Template(format!(
                "it has more than {BYTES_MAX} bytes"
            )));
        }
        let text = tokio::fs::read_to_string(&self.0).await;
        Template::of(text.map_err(unreadable)?)
    }
}

impl Template {
    fn of(text: String) -> Result<Self, Failure> {
        match (parts(&text, HEAD), parts(&text, BODY)) {
            (Some(_), Some(_)) => Ok(Self(text)),
            _ => Err(Failure::Template(
                "it lacks the marks <!--head--> and <!--body-->: it is not a build of these pages"
                    .to_owned(),
            )),
        }
    }

    /// The page as it was built.
    pub(crate) fn plain(self) -> String {
        self.0
    }

    /// The page with this head and body.
    pub(crate) fn with(self, head: Markup, body: Markup) -> String {
        let with_head = replaced(&self.0, HEAD, &head.into_string());
        replaced(&with_head, BODY, &body.into_string())
    }
}

/// What stands before and after a pair of marks. The first mark counts, which is before all texts of people.
fn parts<'t>(text: &'t str, [begin, end]: [&str; 2]) -> Option<(&'t str, &'t str)> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some((before, after))
}

fn replaced(text: &str, marks: [&str; 2], new: &str) -> String {
    let Some((before, after)) = parts(text, marks) else {
        return text.to_owned();
    };
    [before, new, after].concat()
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_replaced() {
        let text = "<head>a<!--head-->b<!--/head--></head><body><!--body-->c<!--/body--></body>";
        let template = Template::of(text.to_owned()).expect("a template");
        let title = "</title><!--body-->";
        let page = template.with(html! { title { (title) } }, html! { "text" });
        assert_eq!(
            page,
            "<head>a<title>&lt;/title&gt;&lt;!--body--&gt;</title></head><body>text</body>"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_no_template_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = TemplateFile::in_folder(folder.path());
        for text in [
            None,
            Some(""),
            Some("<!--head--><!--/head-->"),
            Some("<!--/head--><!--head--><!--body--><!--/body-->"),
        ] {
            if let Some(text) = text {
                std::fs::write(folder.path().join("index.html"), text).expect("written");
            }
            let refused = file.read().await.expect_err("no template");
            assert!(matches!(refused, Failure::Template(_)), "{refused}");
        }
    }
}
