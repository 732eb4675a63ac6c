//! Reads HTML and XML as browsers and feed readers do.

use html5gum::{Token, Tokenizer};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// An element's start with its attributes, and the text up to the next tag.
#[derive(Debug)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub text: String,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(each, _)| each == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The elements of a page in their order.
///
/// # Panics
/// If elements do not end in the order in which they began.
pub fn html(text: &str) -> Vec<Element> {
    const WITHOUT_END: [&str; 3] = ["meta", "link", "img"];
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let mut elements: Vec<Element> = Vec::new();
    let mut open = Vec::new();
    for token in Tokenizer::new(text) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                let name = string(&tag.name);
                if !WITHOUT_END.contains(&name.as_str()) {
                    open.push(name.clone());
                }
                let attributes = tag.attributes.iter();
                let attributes = attributes.map(|(name, value)| (string(name), string(value)));
                elements.push(Element {
                    name,
                    attributes: attributes.collect(),
                    text: String::new(),
                });
            }
            Token::EndTag(tag) => assert_eq!(open.pop(), Some(string(&tag.name))),
            Token::String(text) => {
                if let Some(element) = elements.last_mut() {
                    element.text.push_str(&string(&text));
                }
            }
            Token::Error(error) => {
                // What the live page starts from has the texts as they are.
                let error = format!("{error:?}");
                assert!(error.contains("InInputStream"), "{error}");
            }
            Token::Comment(_) | Token::Doctype(_) => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    elements
}

/// The texts and attributes of an XML document: `(element, text)` and `(element@attribute, value)`.
///
/// # Panics
/// If it is not well-formed.
pub fn xml(text: &str) -> Vec<(String, String)> {
    let is_allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
    assert!(text.chars().all(is_allowed), "{text:?}");
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let (mut found, mut path) = (Vec::new(), Vec::new());
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(tag) => {
                found.extend(attributes(&tag));
                path.push(tag.name().as_ref().to_owned());
                found.push((path.last().cloned().expect("it"), String::new()));
            }
            Event::Empty(tag) => found.extend(attributes(&tag)),
            Event::End(_) => drop(path.pop()),
            Event::Text(text) => {
                let text = text.xml10_content().into_owned();
                append(&mut found, &text);
            }
            Event::GeneralRef(reference) => {
                let name = reference.to_string();
                let text = match reference.resolve_char_ref().expect("a reference") {
                    Some(c) => c.to_string(),
                    None => quick_xml::escape::resolve_predefined_entity(&name)
                        .expect("a known entity")
                        .to_owned(),
                };
                append(&mut found, &text);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(path.is_empty(), "{path:?}");
    found
}

fn append(found: &mut [(String, String)], text: &str) {
    if let Some((_, last)) = found.last_mut() {
        last.push_str(text);
    }
}

fn attributes(tag: &BytesStart<'_>) -> Vec<(String, String)> {
    let element = tag.name().as_ref().to_owned();
    let attributes = tag.attributes().map(|it| it.expect("well-formed"));
    let attributes = attributes.map(|it| {
        let value = it.normalized_value(XmlVersion::Implicit1_0);
        let value = value.expect("well-formed").into_owned();
        (format!("{element}@{}", it.key.as_ref()), value)
    });
    attributes.collect()
}
