//! A writer reads what it wrote, anywhere and by its time: the list has to show it, whatever the instance that answers
//! has kept in memory.

use serde_json::{Value, json};

use super::fleet::{Fleet, Person};

const OF_POST: &str = "query ($id: ID!, $time: String) { post(id: $id) { ...List } }";
const OF_ENTITY: &str = "query ($id: ID!, $time: String) {
    _entities(representations: [{ __typename: \"Post\", id: $id }]) { ...List }
}";
const LIST: &str = "fragment List on Post {
    comments(first: 100, operationTime: $time) { edges { node { id text createdAt } } pageInfo { hasNextPage } }
}";

/// What a writer knows of one of its comments. Nobody else changes it.
pub struct Known<'a> {
    pub post: &'a str,
    pub id: &'a str,
    /// Its text; none if it was deleted.
    pub text: Option<&'a str>,
    /// The `createdAt` of a new one, which has to be in the list unless the list ends before it.
    pub created_at: Option<&'a str>,
    /// When it was written.
    pub operation_time: &'a Value,
}

impl Known<'_> {
    /// Reads the list at an endpoint; none if there was no answer, else whether it shows what is known.
    pub async fn is_shown(&self, fleet: &Fleet, endpoint: &str, person: Person) -> Option<bool> {
        let query = match endpoint == fleet.gateway("http") {
            true => format!("{OF_POST} {LIST}"),
            false => format!("{OF_ENTITY} {LIST}"),
        };
        let variables = json!({ "id": self.post, "time": self.operation_time });
        let answer = fleet.ask(endpoint, person, &query, variables).await?;
        let data = &answer["data"];
        let list = data["post"].get("comments");
        let list = list.or_else(|| data["_entities"][0].get("comments"))?;
        Some(self.is_in(list))
    }

    fn is_in(&self, list: &Value) -> bool {
        let Some(edges) = list["edges"].as_array() else {
            // An error in its place.
            return true;
        };
        let mut shown = edges.iter().map(|edge| &edge["node"]);
        let shown = shown.find(|node| node["id"] == self.id);
        match (shown, self.text) {
            (Some(shown), Some(text)) => shown["text"] == text,
            (Some(_), None) => false,
            (None, _) => !self.has_to_be_in(list, edges),
        }
    }

    fn has_to_be_in(&self, list: &Value, edges: &[Value]) -> bool {
        let Some(created_at) = self.created_at else {
            return false;
        };
        let last = edges
            .last()
            .and_then(|edge| edge["node"]["createdAt"].as_str());
        list["pageInfo"]["hasNextPage"] == false || last.is_some_and(|last| created_at > last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_what_is_known_or_ends_before_it() {
        let node = |id: &str, text: &str, date: &str| json!({ "node": { "id": id, "text": text, "createdAt": date } });
        let list = |goes_on: bool| {
            json!({
                "edges": [node("b", "B", "2"), node("a", "A", "1")],
                "pageInfo": { "hasNextPage": goes_on },
            })
        };
        let is_in = |id, text, created_at, goes_on| {
            let known = Known {
                post: "p",
                id,
                text,
                created_at,
                operation_time: &Value::Null,
            };
            known.is_in(&list(goes_on))
        };
        assert!(is_in("a", Some("A"), Some("1"), true));
        assert!(!is_in("a", Some("other"), None, true));
        assert!(!is_in("a", None, None, true), "it was deleted");
        assert!(is_in("c", None, None, true));
        assert!(!is_in("c", Some("C"), Some("3"), true));
        assert!(
            is_in("c", Some("C"), Some("0"), true),
            "it is later in the list"
        );
        assert!(!is_in("c", Some("C"), Some("0"), false));
        assert!(is_in("c", Some("C"), None, true));
    }
}
