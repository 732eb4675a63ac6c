//! The costs in a supergraph: `@cost`, `@listSize`, and Relay's convention for pages.
//!
//! Sources: the IBM GraphQL Cost Directive specification
//! (<https://ibm.github.io/graphql-specs/cost-spec.html>) and the directives of Federation 2.9. In
//! a composed supergraph, the directives have the names that its `@link`s give them, and are
//! applied directly or inside `@join__directive`.

use std::collections::{HashMap, HashSet};

use apollo_compiler::{
    Name, Node, Schema,
    ast::{Directive, Value},
    schema::{Component, ExtendedType, FieldDefinition, InputValueDefinition, Type},
};

/// The page arguments of Relay's connections.
const PAGE_ARGUMENTS: [&str; 2] = ["first", "last"];
/// The lists of a connection that a page argument sizes.
const PAGE_LISTS: [&str; 2] = ["edges", "nodes"];

/// The weights and list sizes of a supergraph.
#[derive(Debug, Default)]
pub struct Costs {
    types: HashMap<Name, f64>,
    fields: HashMap<Name, HashMap<Name, FieldCosts>>,
    input_fields: HashMap<Name, HashMap<Name, f64>>,
}

/// The costs and the list size of one field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldCosts {
    /// Its own `@cost`, which replaces that of its type.
    pub weight: Option<f64>,
    /// The length of its list, or of the lists below it.
    pub list_size: Option<ListSize>,
    /// The `@cost` of its arguments.
    pub arguments: HashMap<Name, f64>,
}

/// `@listSize`, or the list size by Relay's convention.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListSize {
    /// The length without a slicing argument.
    pub assumed: Option<f64>,
    /// The slicing arguments, each with the path of input fields inside it.
    pub slicing: Vec<Vec<String>>,
    /// The paths of fields below that have this length; empty if the field itself is the list.
    pub sized: Vec<Vec<String>>,
    /// Whether exactly one slicing argument must be given.
    pub requires_one: bool,
}

impl Costs {
    /// Reads the directives of every definition.
    pub fn of(supergraph: &Schema) -> Self {
        let names = Names::of(supergraph);
        let mut costs = Self::default();
        for (name, definition) in &supergraph.types {
            let directives = definition.directives().0.iter();
            if let Some(weight) = names.weight(directives.map(|it| -> &Directive { it })) {
                costs.types.insert(name.clone(), weight);
            }
            match definition {
                ExtendedType::Object(object) => {
                    let interfaces: Vec<&Name> = object
                        .implements_interfaces
                        .iter()
                        .map(|it| &it.name)
                        .collect();
                    let fields = object.fields.values();
                    costs.add_fields(supergraph, &names, name, &interfaces, fields);
                }
                ExtendedType::Interface(interface) => {
                    let fields = interface.fields.values();
                    costs.add_fields(supergraph, &names, name, &[], fields);
                }
                ExtendedType::InputObject(input) => {
                    for (field, definition) in &input.fields {
                        if let Some(weight) = names.weight_in(&definition.directives) {
                            let fields = costs.input_fields.entry(name.clone()).or_default();
                            fields.insert(field.clone(), weight);
                        }
                    }
                }
                _ => {}
            }
        }
        costs
    }

    /// The costs of a field of an object or interface type; `None` if there are none.
    pub fn field(&self, type_name: &Name, field: &Name) -> Option<&FieldCosts> {
        self.fields.get(type_name)?.get(field)
    }

    /// The `@cost` of an input object's field.
    pub fn input_field(&self, type_name: &Name, field: &Name) -> Option<f64> {
        self.input_fields.get(type_name)?.get(field).copied()
    }

    /// The cost of one value of the type: its `@cost`, or else 1 for an object and 0 for a leaf.
    pub fn of_type(&self, schema: &Schema, name: &Name) -> f64 {
        if let Some(weight) = self.types.get(name) {
            return *weight;
        }
        match schema.types.get(name) {
            Some(ExtendedType::Scalar(_) | ExtendedType::Enum(_)) | None => 0.0,
            Some(_) => 1.0,
        }
    }

    fn add_fields<'d>(
        &mut self,
        supergraph: &Schema,
        names: &Names,
        type_name: &Name,
        interfaces: &[&Name],
        fields: impl Iterator<Item = &'d Component<FieldDefinition>>,
    ) {
        for field in fields {
            let field: &FieldDefinition = field;
            let of_interfaces = interfaces.iter().filter_map(|interface| {
                let interface = supergraph.get_interface(interface)?;
                Some(&**interface.fields.get(&field.name)?)
            });
            let mut said: Vec<&FieldDefinition> = vec![field];
            said.extend(of_interfaces.map(|it| -> &FieldDefinition { it }));
            let mut costs = FieldCosts {
                weight: said.iter().find_map(|it| names.weight_in(&it.directives)),
                list_size: said.iter().find_map(|it| names.list_size(it)),
                arguments: HashMap::new(),
            };
            costs.list_size = by_convention(supergraph, field, costs.list_size);
            for argument in &field.arguments {
                if let Some(weight) = names.weight_in(&argument.directives) {
                    costs.arguments.insert(argument.name.clone(), weight);
                }
            }
            if costs != FieldCosts::default() {
                let fields = self.fields.entry(type_name.clone()).or_default();
                fields.insert(field.name.clone(), costs);
            }
        }
    }
}

/// Completes a field's list size by convention: a page argument gives the length of the lists of
/// the connection below it, or of the field's own list.
fn by_convention(
    supergraph: &Schema,
    field: &FieldDefinition,
    said: Option<ListSize>,
) -> Option<ListSize> {
    let is_page_argument = |argument: &&Node<InputValueDefinition>| {
        PAGE_ARGUMENTS.contains(&argument.name.as_str())
            && !argument.ty.is_list()
            && argument.ty.inner_named_type() == "Int"
    };
    let slicing = || {
        let arguments = field.arguments.iter().filter(is_page_argument);
        let names = arguments.map(|it| vec![it.name.to_string()]);
        names.collect::<Vec<_>>()
    };
    let lists = connection_lists(supergraph, &field.ty);
    if let Some(mut said) = said {
        if said.sized.is_empty() && !field.ty.is_list() {
            said.sized = lists;
        }
        return Some(said);
    }
    let slicing = slicing();
    let sizes_nothing = !field.ty.is_list() && lists.is_empty();
    if slicing.is_empty() || sizes_nothing {
        return None;
    }
    Some(ListSize {
        slicing,
        sized: if field.ty.is_list() {
            Vec::new()
        } else {
            lists
        },
        ..ListSize::default()
    })
}

/// The lists `edges` and `nodes` of a type whose name ends in `Connection`.
fn connection_lists(supergraph: &Schema, ty: &Type) -> Vec<Vec<String>> {
    let name = ty.inner_named_type();
    let fields = match supergraph.types.get(name) {
        Some(ExtendedType::Object(object)) => &object.fields,
        Some(ExtendedType::Interface(interface)) => &interface.fields,
        _ => return Vec::new(),
    };
    if !name.ends_with("Connection") || ty.is_list() {
        return Vec::new();
    }
    let is_list = |name: &&&str| fields.get(**name).is_some_and(|field| field.ty.is_list());
    let lists = PAGE_LISTS.iter().filter(is_list);
    lists.map(|name| vec![(*name).to_owned()]).collect()
}

/// The arguments with which a directive is applied.
type Arguments<'d> = Vec<(&'d Name, &'d Value)>;

/// The names that the two directives have in a supergraph.
struct Names {
    cost: HashSet<String>,
    list_size: HashSet<String>,
}

impl Names {
    fn of(supergraph: &Schema) -> Self {
        // Composers write the plain names; names inside `@join__directive` may have a prefix.
        let names =
            |plain: &str| ["", "federation__", "cost__"].map(|prefix| format!("{prefix}{plain}"));
        let mut this = Self {
            cost: names("cost").into(),
            list_size: names("listSize").into(),
        };
        for directive in &supergraph.schema_definition.directives.0 {
            match directive.name.as_str() {
                "link" | "core" => this.link(&arguments_of(directive)),
                "join__directive" => {
                    if let Some(("link", arguments)) = joined(directive) {
                        this.link(&arguments);
                    }
                }
                _ => {}
            }
        }
        this
    }

    /// Adds the names under which a `@link` imports the directives.
    fn link(&mut self, arguments: &Arguments<'_>) {
        let text = |name: &str| argument(arguments, name).and_then(|value| value.as_str());
        // https://specs.apollo.dev/NAME/vX.Y
        let url = text("url").or_else(|| text("feature")).unwrap_or_default();
        let specification = url.rsplit('/').nth(1).unwrap_or_default();
        if !["cost", "listSize", "federation"].contains(&specification) {
            return;
        }
        let prefix = text("as").unwrap_or(specification);
        let imports = argument(arguments, "import").and_then(|it| it.as_list());
        for directive in ["cost", "listSize"] {
            let imported = imports
                .unwrap_or_default()
                .iter()
                .find_map(|import| imported_as(import, directive));
            let local = match imported {
                Some(local) => local.to_owned(),
                None if specification == directive => prefix.to_owned(),
                None => format!("{prefix}__{directive}"),
            };
            match directive {
                "cost" => self.cost.insert(local),
                _ => self.list_size.insert(local),
            };
        }
    }

    fn weight_in(&self, directives: &apollo_compiler::ast::DirectiveList) -> Option<f64> {
        self.weight(directives.0.iter().map(|it| -> &Directive { it }))
    }

    /// The largest weight of the directive's applications.
    fn weight<'d>(&self, directives: impl Iterator<Item = &'d Directive>) -> Option<f64> {
        applications(directives, &self.cost)
            .iter()
            .filter_map(|arguments| number(argument(arguments, "weight")?))
            .reduce(f64::max)
    }

    fn list_size(&self, field: &FieldDefinition) -> Option<ListSize> {
        let directives = field.directives.0.iter().map(|it| -> &Directive { it });
        let applications = applications(directives, &self.list_size);
        if applications.is_empty() {
            return None;
        }
        let mut size = ListSize::default();
        for arguments in &applications {
            let assumed = argument(arguments, "assumedSize").and_then(number);
            size.assumed = match (size.assumed, assumed) {
                (Some(one), Some(other)) => Some(one.max(other)),
                (one, other) => one.or(other),
            };
            add_paths(argument(arguments, "slicingArguments"), &mut size.slicing);
            add_paths(argument(arguments, "sizedFields"), &mut size.sized);
            let required = argument(arguments, "requireOneSlicingArgument");
            size.requires_one |= required.and_then(|it| it.to_bool()).unwrap_or(true);
        }
        size.requires_one &= !size.slicing.is_empty();
        Some(size)
    }
}

/// The name under which a `@link` imports a directive, if it does.
fn imported_as<'d>(import: &'d Value, directive: &str) -> Option<&'d str> {
    let is_it = |name: &str| name.strip_prefix('@') == Some(directive);
    let local = match import {
        Value::String(name) if is_it(name) => Some(name.as_str()),
        Value::Object(members) => {
            let member = |name: &str| {
                let mut members = members.iter();
                members.find(|(key, _)| key == name)?.1.as_str()
            };
            let name = member("name").filter(|name| is_it(name))?;
            Some(member("as").unwrap_or(name))
        }
        _ => None,
    };
    local?.strip_prefix('@')
}

/// The applications of the directives with these names, including those inside `@join__directive`.
fn applications<'d>(
    directives: impl Iterator<Item = &'d Directive>,
    names: &HashSet<String>,
) -> Vec<Arguments<'d>> {
    let mut found = Vec::new();
    for directive in directives {
        if names.contains(directive.name.as_str()) {
            found.push(arguments_of(directive));
        } else if directive.name == "join__directive"
            && let Some((name, arguments)) = joined(directive)
            && names.contains(name)
        {
            found.push(arguments);
        }
    }
    found
}

/// The directive that a `@join__directive` carries.
fn joined(directive: &Directive) -> Option<(&str, Arguments<'_>)> {
    let name = directive.specified_argument_by_name("name")?.as_str()?;
    let arguments = directive
        .specified_argument_by_name("args")
        .and_then(|arguments| arguments.as_object())
        .unwrap_or_default();
    let arguments = arguments.iter().map(|(name, value)| (name, &**value));
    Some((name, arguments.collect()))
}

fn arguments_of(directive: &Directive) -> Arguments<'_> {
    let arguments = directive.arguments.iter();
    arguments.map(|it| (&it.name, &*it.value)).collect()
}

fn argument<'d>(arguments: &Arguments<'d>, name: &str) -> Option<&'d Value> {
    let mut arguments = arguments.iter();
    arguments.find(|(key, _)| *key == name).map(|it| it.1)
}

/// Reads a weight or a size: an integer in Federation, a string in the IBM specification.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        value => value.to_f64(),
    };
    number.filter(|number: &f64| number.is_finite())
}

/// Adds paths of names, written as `first`, `page.first` or `page { first }`.
fn add_paths(list: Option<&Value>, paths: &mut Vec<Vec<String>>) {
    for text in list.and_then(|list| list.as_list()).unwrap_or_default() {
        let names = text.as_str().unwrap_or_default();
        let path: Vec<String> = names
            .split(|c: char| c != '_' && !c.is_ascii_alphanumeric())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if !path.is_empty() && !paths.contains(&path) {
            paths.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(sdl: &str) -> Costs {
        Costs::of(&Schema::parse(sdl, "supergraph.graphql").expect("SDL"))
    }

    fn field<'c>(costs: &'c Costs, coordinate: &str) -> &'c FieldCosts {
        let (type_name, field) = coordinate.split_once('.').expect("Type.field");
        let name = |text| Name::new(text).expect("a name");
        costs.field(&name(type_name), &name(field)).expect("costs")
    }

    fn paths(names: &[&str]) -> Vec<Vec<String>> {
        names.iter().map(|name| vec![(*name).to_owned()]).collect()
    }

    #[test]
    fn plain_linked_renamed_and_joined_directives_are_read_alike() {
        let said = "(assumedSize: 7, slicingArguments: [\"n\"], requireOneSlicingArgument: false)";
        let supergraph = |links: &str, cost: &str, list_size: &str| {
            format!(
                "schema {links} {{ query: Query }} type Query {{ all(n: Int {cost}): [Int] {cost} {list_size} }}"
            )
        };
        let link = "@link(url: \"https://specs.apollo.dev/cost/v0.1\"";
        let joined = "@join__directive(graphs: [A], name: \"link\", args: {url: \"https://specs.apollo.dev/federation/v2.9\", import: [{name: \"@cost\", as: \"@price\"}]})";
        let in_join = said.replace('(', "{").replace(')', "}");
        let cases = [
            supergraph("", "@cost(weight: 3)", &format!("@listSize{said}")),
            supergraph(
                "",
                "@cost(weight: \"3.0\")",
                &format!("@federation__listSize{said}"),
            ),
            supergraph(
                &format!("{link})"),
                "@cost(weight: 3)",
                &format!("@cost__listSize{said}"),
            ),
            supergraph(
                &format!("{link}, as: \"c\")"),
                "@c(weight: 3)",
                &format!("@c__listSize{said}"),
            ),
            supergraph(
                &format!("{link}, import: [{{name: \"@listSize\", as: \"@size\"}}, \"@cost\"])"),
                "@cost(weight: 3)",
                &format!("@size{said}"),
            ),
            supergraph(
                joined,
                "@join__directive(graphs: [A], name: \"price\", args: {weight: 3}) @join__directive(graphs: [B], name: \"price\", args: {weight: 2})",
                &format!(
                    "@join__directive(graphs: [A], name: \"federation__listSize\", args: {in_join})"
                ),
            ),
        ];
        for sdl in cases {
            let costs = costs(&sdl);
            let all = field(&costs, "Query.all");
            let size = ListSize {
                assumed: Some(7.0),
                slicing: paths(&["n"]),
                ..ListSize::default()
            };
            assert_eq!(all.weight, Some(3.0), "{sdl}");
            assert_eq!(all.list_size, Some(size), "{sdl}");
            assert_eq!(all.arguments.values().copied().sum::<f64>(), 3.0, "{sdl}");
        }
    }

    #[test]
    fn page_arguments_are_known_by_convention() {
        let costs = costs(
            "type Query {
               posts(first: Int, last: Int!, after: String): PostConnection!
               newest(first: Int = 3): [Post!]
               named(first: String): PostConnection
               first(first: Int): Post
               both(first: Int): PostConnection @listSize(assumedSize: 5, slicingArguments: [\"first\"])
             }
             type PostConnection { edges: [Post!]! nodes: [Post] pageInfo: Int }
             type Post { id: ID }",
        );
        let by_page = ListSize {
            slicing: paths(&["first", "last"]),
            sized: paths(&["edges", "nodes"]),
            ..ListSize::default()
        };
        assert_eq!(field(&costs, "Query.posts").list_size, Some(by_page));
        let own = ListSize {
            slicing: paths(&["first"]),
            ..ListSize::default()
        };
        assert_eq!(field(&costs, "Query.newest").list_size, Some(own.clone()));
        let said = ListSize {
            assumed: Some(5.0),
            sized: paths(&["edges", "nodes"]),
            requires_one: true,
            ..own
        };
        assert_eq!(field(&costs, "Query.both").list_size, Some(said));
        let query = &costs.fields["Query"];
        assert!(!query.contains_key("named") && !query.contains_key("first"));
    }

    #[test]
    fn an_object_takes_what_its_interface_says() {
        let costs = costs(
            "interface Node { all: [Int] @listSize(assumedSize: 4) }
             type A implements Node { all: [Int] }
             type B implements Node { all: [Int] @listSize(assumedSize: 9) @cost(weight: 2) }
             scalar Large @cost(weight: 5) enum E @cost(weight: 6) { X }
             input I { n: Int @cost(weight: 8) }",
        );
        let assumed = |coordinate| {
            field(&costs, coordinate)
                .list_size
                .as_ref()
                .expect("a size")
                .assumed
        };
        assert_eq!(assumed("A.all"), Some(4.0));
        assert_eq!(assumed("B.all"), Some(9.0));
        let schema = Schema::new();
        let name = |text| Name::new(text).expect("a name");
        assert_eq!(costs.of_type(&schema, &name("Large")), 5.0);
        assert_eq!(costs.of_type(&schema, &name("E")), 6.0);
        assert_eq!(costs.input_field(&name("I"), &name("n")), Some(8.0));
    }
}
