//! `robots.txt`, and the sitemap of the newest posts.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::failure::Failure;
use crate::graph::Version;
use crate::head::written;
use crate::origin::Origin;

/// Posts in the sitemap: the newest. Older ones are found by the links of the list.
pub const POSTS_MAX: usize = 500;
const SITEMAP: &str = "http://www.sitemaps.org/schemas/sitemap/0.9";

/// Views that show a crawler nothing. `/graphql` is allowed: crawlers that run scripts need it.
const ROBOTS: &str = "User-agent: *\nDisallow: /moderation\nDisallow: /new\n";

/// `robots.txt`.
pub fn robots(origin: &Origin) -> String {
    match origin.canonical("/sitemap.xml") {
        Some(sitemap) => format!("{ROBOTS}\nSitemap: {sitemap}\n"),
        None => ROBOTS.to_owned(),
    }
}

/// The list and the posts, at most [`POSTS_MAX`].
///
/// # Errors
/// Never, as it is written to memory.
pub fn sitemap(origin: &Origin, posts: &[Version]) -> Result<String, Failure> {
    let xml = write(origin, posts).map_err(|_| Failure::Defect)?;
    String::from_utf8(xml).map_err(|_| Failure::Defect)
}

fn write(origin: &Origin, posts: &[Version]) -> io::Result<Vec<u8>> {
    let mut xml = Writer::new(Vec::new());
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    xml.create_element("urlset")
        .with_attribute(("xmlns", SITEMAP))
        .write_inner_content(|xml| {
            write_url(xml, &origin.with("/"), None)?;
            for post in posts.iter().take(POSTS_MAX) {
                let address = origin.with(&format!("/posts/{}", post.id));
                write_url(xml, &address, written(post.updated_at))?;
            }
            Ok(())
        })?;
    Ok(xml.into_inner())
}

fn write_url(xml: &mut Writer<Vec<u8>>, address: &str, modified: Option<String>) -> io::Result<()> {
    xml.create_element("url").write_inner_content(|xml| {
        xml.create_element("loc")
            .write_text_content(BytesText::new(address))?;
        if let Some(modified) = modified {
            xml.create_element("lastmod")
                .write_text_content(BytesText::new(&modified))?;
        }
        Ok(())
    })?;
    Ok(())
}
