//! Reads the directives of authorisation from a supergraph.

use apollo_compiler::{
    Name, Node, Schema,
    ast::{Directive, Value},
    schema::{ExtendedType, FieldDefinition},
};
use rustc_hash::FxHashMap;

use super::{AnyOf, Authorization, REQUIREMENTS_MAX, Requirement, RequirementId};
use crate::{
    mistakes::Located,
    specifications,
    types::{TypeId, TypeTable},
};

/// The sets of names that implication tries at most for one requirement of an interface.
const COMBINATIONS_MAX: usize = 4_096;

/// What directives at one place require, by their numbers; sorted.
type Required = Vec<RequirementId>;

/// The directives that can be read, and what is wrong with the others.
pub(super) fn read(schema: &Schema, types: &TypeTable) -> (Authorization, Vec<Located>) {
    let mut reader = Reader {
        schema,
        types,
        authenticated: Names::of(schema, "authenticated"),
        scopes: Names::of(schema, "requiresScopes"),
        policy: Names::of(schema, "policy"),
        requirements: Vec::new(),
        numbers: FxHashMap::default(),
        of_types: FxHashMap::default(),
        of_fields: FxHashMap::default(),
        mistakes: Vec::new(),
    };
    reader.directives();
    if reader.requirements.is_empty() {
        return (Authorization::default(), reader.mistakes);
    }
    reader.inherit();
    let fields = reader.fields();
    let authorization = Authorization {
        requirements: reader.requirements,
        fields,
    };
    (authorization, reader.mistakes)
}

struct Reader<'s> {
    schema: &'s Schema,
    types: &'s TypeTable,
    authenticated: Names,
    scopes: Names,
    policy: Names,
    requirements: Vec<Requirement>,
    numbers: FxHashMap<Requirement, RequirementId>,
    /// What the directives at a type require.
    of_types: FxHashMap<&'s Name, Required>,
    /// The same for fields.
    of_fields: FxHashMap<(&'s Name, &'s Name), Required>,
    mistakes: Vec<Located>,
}

/// What a supergraph calls a directive.
struct Names {
    all: Vec<String>,
    /// Without a link, a directive that has the name may be another one.
    are_linked: bool,
}

impl Names {
    fn of(schema: &Schema, specification: &str) -> Self {
        let all = specifications::local_names(schema, specification);
        match all.is_empty() {
            true => Self {
                all: vec![specification.to_owned()],
                are_linked: false,
            },
            false => Self {
                all,
                are_linked: true,
            },
        }
    }

    /// Whether `directive` is the one that has these names, and `argument` if it is an argument that it needs.
    fn are_of(&self, directive: &Directive, argument: Option<&str>) -> bool {
        let has = |argument| directive.specified_argument_by_name(argument).is_some();
        self.all.iter().any(|name| *name == *directive.name)
            && (self.are_linked || argument.is_none_or(has))
    }
}

impl<'s> Reader<'s> {
    fn directives(&mut self) {
        let schema = self.schema;
        for (name, definition) in &schema.types {
            let at_type = definition
                .directives()
                .iter()
                .map(|it| -> &Directive { it });
            let required = self.required(at_type, &|| name.to_string());
            if !required.is_empty() {
                self.of_types.insert(name, required);
            }
            for field in fields_of(definition) {
                let at_field = field.directives.iter().map(|it| -> &Directive { it });
                let place = || format!("{name}.{}", field.name);
                let required = self.required(at_field, &place);
                if !required.is_empty() {
                    self.of_fields.insert((name, &field.name), required);
                }
            }
        }
    }

    fn required<'d>(
        &mut self,
        directives: impl Iterator<Item = &'d Directive>,
        place: &dyn Fn() -> String,
    ) -> Required {
        let mut required = Required::new();
        for directive in directives {
            let requirement = if self.authenticated.are_of(directive, None) {
                Ok(Requirement::Authenticated)
            } else if self.scopes.are_of(directive, Some("scopes")) {
                any_of(directive, "scopes", place).map(Requirement::Scopes)
            } else if self.policy.are_of(directive, Some("policies")) {
                any_of(directive, "policies", place).map(Requirement::Policies)
            } else {
                continue;
            };
            match requirement.and_then(|requirement| self.number(requirement)) {
                Ok(id) => {
                    if let Err(at) = required.binary_search(&id) {
                        required.insert(at, id);
                    }
                }
                Err(mistake) => self.mistakes.push((directive.name.location(), mistake)),
            }
        }
        required
    }

    fn number(&mut self, requirement: Requirement) -> Result<RequirementId, String> {
        if let Some(known) = self.numbers.get(&requirement) {
            return Ok(*known);
        }
        if self.requirements.len() == REQUIREMENTS_MAX {
            return Err(format!(
                "there are more than {REQUIREMENTS_MAX} distinct ones"
            ));
        }
        let id = RequirementId(self.requirements.len() as u16);
        self.requirements.push(requirement.clone());
        self.numbers.insert(requirement, id);
        Ok(id)
    }

    /// Gives implementations what their interfaces require, unless it was generated from them.
    fn inherit(&mut self) {
        let mut to_types: Vec<(&'s Name, RequirementId)> = Vec::new();
        let mut to_fields: Vec<(&'s Name, &'s Name, RequirementId)> = Vec::new();
        for (name, definition) in &self.schema.types {
            let ExtendedType::Interface(interface) = definition else {
                continue;
            };
            let objects = self.objects(name);
            let none = Required::new();
            let own = self.of_types.get(name).unwrap_or(&none);
            let of_objects = objects.iter().filter_map(|it| self.of_types.get(it));
            let of_objects: Vec<&Required> = of_objects.collect();
            if !self.is_generated(own, &of_objects) {
                for id in own {
                    to_types.extend(objects.iter().map(|object| (*object, *id)));
                }
            }
            for field in interface.fields.keys() {
                let Some(own) = self.of_fields.get(&(name, field)) else {
                    continue;
                };
                let of_objects = objects
                    .iter()
                    .filter_map(|it| self.of_fields.get(&(*it, field)));
                let of_objects: Vec<&Required> = of_objects.collect();
                if !self.is_generated(own, &of_objects) {
                    for id in own {
                        to_fields.extend(objects.iter().map(|object| (*object, field, *id)));
                    }
                }
            }
        }
        for (ty, id) in to_types {
            add(self.of_types.entry(ty).or_default(), &[id]);
        }
        for (ty, field, id) in to_fields {
            add(self.of_fields.entry((ty, field)).or_default(), &[id]);
        }
    }

    /// The objects that implement an interface.
    fn objects(&self, interface: &str) -> Vec<&'s Name> {
        let id = self.types.id(interface).unwrap_or(TypeId::UNKNOWN);
        let all = self.types.satisfied_by(id);
        let objects = all.iter().filter(|it| self.types.is_object(*it));
        objects
            .filter_map(|it| Some(self.schema.types.get_key_value(self.types.name(it))?.0))
            .collect()
    }

    /// Whether an interface requires exactly what its implementations require together: all that it requires follows
    /// from them, and all that they require follows from it.
    fn is_generated(&self, own: &Required, of_objects: &[&Required]) -> bool {
        let mut together = Required::new();
        for required in of_objects {
            add(&mut together, required);
        }
        own.iter().all(|id| self.is_implied(*id, &together))
            && together.iter().all(|id| self.is_implied(*id, own))
    }

    /// Whether a requirement follows from all of `others` together.
    fn is_implied(&self, id: RequirementId, others: &Required) -> bool {
        if others.contains(&id) {
            return true;
        }
        let others = others.iter();
        let of = |id: &RequirementId| &self.requirements[usize::from(id.0)];
        match of(&id) {
            Requirement::Authenticated => false,
            Requirement::Scopes(wanted) => {
                let others = others.filter_map(|other| match of(other) {
                    Requirement::Scopes(given) => Some(given),
                    _ => None,
                });
                follows(wanted, others)
            }
            Requirement::Policies(wanted) => {
                let others = others.filter_map(|other| match of(other) {
                    Requirement::Policies(given) => Some(given),
                    _ => None,
                });
                follows(wanted, others)
            }
        }
    }

    /// What each field requires, with its type and the type of its value.
    fn fields(&self) -> FxHashMap<TypeId, FxHashMap<Name, Box<[RequirementId]>>> {
        let mut all: FxHashMap<TypeId, FxHashMap<Name, Box<[RequirementId]>>> =
            FxHashMap::default();
        let mut add = |ty: TypeId, field: &Name, required: Required| {
            if !required.is_empty() {
                let fields = all.entry(ty).or_default();
                fields.insert(field.clone(), required.into());
            }
        };
        for (name, definition) in &self.schema.types {
            let Some(id) = self.types.id(name) else {
                continue;
            };
            for field in fields_of(definition) {
                let mut required = self.field(name, field);
                if definition.is_interface() {
                    for object in self.objects(name) {
                        let own = self.schema.types.get(object);
                        let mut fields = own.into_iter().flat_map(fields_of);
                        if let Some(own) = fields.find(|it| it.name == field.name) {
                            self::add(&mut required, &self.field(object, own));
                        }
                    }
                }
                add(id, &field.name, required);
            }
        }
        all
    }

    fn field(&self, ty: &Name, field: &FieldDefinition) -> Required {
        let parts = [
            self.of_fields.get(&(ty, &field.name)),
            self.of_types.get(ty),
            self.of_types.get(field.ty.inner_named_type()),
        ];
        let mut required = Required::new();
        for part in parts.into_iter().flatten() {
            add(&mut required, part);
        }
        required
    }
}

fn add(required: &mut Required, more: &[RequirementId]) {
    required.extend_from_slice(more);
    required.sort_unstable();
    required.dedup();
}

fn fields_of(definition: &ExtendedType) -> Vec<&FieldDefinition> {
    match definition {
        ExtendedType::Object(it) => it.fields.values().map(|field| &***field).collect(),
        ExtendedType::Interface(it) => it.fields.values().map(|field| &***field).collect(),
        _ => Vec::new(),
    }
}

/// Whether `wanted` is met wherever all of `given` are.
fn follows<'r>(wanted: &AnyOf, given: impl Iterator<Item = &'r AnyOf>) -> bool {
    // What is known to be there: a way to meet all of `given` for each element.
    let mut ways: Vec<Vec<&str>> = vec![Vec::new()];
    for given in given {
        if ways.len().saturating_mul(given.sets().len()) > COMBINATIONS_MAX {
            return false;
        }
        let further = ways.iter().flat_map(|way| {
            given.sets().iter().map(move |set| {
                let names = set.iter().map(|name| &**name);
                way.iter().copied().chain(names).collect()
            })
        });
        ways = further.collect();
    }
    ways.iter()
        .all(|way| wanted.is_met(|name| way.contains(&name)))
}

/// The argument of a directive: a list of lists of names. One value stands for a list with it, as in the
/// specification's input coercion.
fn any_of(
    directive: &Directive,
    argument: &str,
    place: &dyn Fn() -> String,
) -> Result<AnyOf, String> {
    let wrong = || {
        let name = &directive.name;
        format!(
            "@{name} at {} needs {argument}: a list of lists of names",
            place()
        )
    };
    let value = directive.specified_argument_by_name(argument);
    let value = value.ok_or_else(wrong)?;
    let name = |value: &Node<Value>| Some(Box::from(value.as_str()?));
    let names = |value: &Node<Value>| match &**value {
        Value::List(names) => names.iter().map(name).collect::<Option<Vec<_>>>(),
        _ => Some(vec![name(value)?]),
    };
    let sets = match &**value {
        Value::List(sets) => sets.iter().map(names).collect::<Option<Vec<_>>>(),
        _ => names(value).map(|names| vec![names]),
    };
    Ok(AnyOf::new(sets.ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use crate::Supergraph;

    const LINKS: &str = "
        @link(url: \"https://specs.apollo.dev/link/v1.0\")
        @link(url: \"https://specs.apollo.dev/join/v0.5\", for: EXECUTION)";
    const AUTHENTICATED: &str = "
        @link(url: \"https://specs.apollo.dev/authenticated/v0.1\", for: SECURITY)
        @link(url: \"https://specs.apollo.dev/requiresScopes/v0.1\", for: SECURITY)
        @link(url: \"https://specs.apollo.dev/policy/v0.1\", for: SECURITY)";

    fn load(links: &str, types: &str) -> Result<Supergraph, String> {
        let sdl = format!(
            "schema {LINKS} {links} {{ query: Query }}
             enum join__Graph {{ A @join__graph(name: \"a\", url: \"\") }}
             {types}"
        );
        Supergraph::parse(&sdl).map_err(|error| error.to_string())
    }

    /// What a field requires, as text.
    fn told(supergraph: &Supergraph, field: &str) -> Vec<String> {
        let (ty, field) = field.split_once('.').expect("Type.field");
        let ty = supergraph.types().id(ty).expect("a type");
        let authorization = supergraph.authorization();
        let required = authorization.of_field(ty, field).iter();
        let mut told: Vec<String> = required
            .map(|id| match authorization.requirement(*id) {
                super::Requirement::Authenticated => "authenticated".to_owned(),
                super::Requirement::Scopes(sets) => format!("scopes {:?}", sets.sets()),
                super::Requirement::Policies(sets) => format!("policies {:?}", sets.sets()),
            })
            .collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn a_field_requires_what_it_and_its_types_require() {
        let supergraph = load(
            AUTHENTICATED,
            "type Query @join__type(graph: A) { user: User @requiresScopes(scopes: [[\"a\", \"b\"], [\"c\"]]) open: Int }
             type User @join__type(graph: A) @authenticated { id: ID! mail: Mail colour: Colour @policy(policies: \"p\") }
             scalar Mail @requiresScopes(scopes: [\"m\", \"n\"])
             enum Colour @policy(policies: [[\"q\"]]) { RED }",
        )
        .expect("it loads");
        assert_eq!(told(&supergraph, "Query.open"), [""; 0]);
        assert_eq!(
            told(&supergraph, "Query.user"),
            ["authenticated", "scopes [[\"a\", \"b\"], [\"c\"]]"]
        );
        assert_eq!(told(&supergraph, "User.id"), ["authenticated"]);
        assert_eq!(
            told(&supergraph, "User.mail"),
            ["authenticated", "scopes [[\"m\"], [\"n\"]]"]
        );
        assert_eq!(
            told(&supergraph, "User.colour"),
            ["authenticated", "policies [[\"p\"]]", "policies [[\"q\"]]"]
        );
    }

    #[test]
    fn directives_count_by_every_name_that_links_give_them() {
        let name = |link: &str, directive: &str| {
            let types = format!("type Query @join__type(graph: A) {{ a: Int @{directive} }}");
            let url = "url: \"https://specs.apollo.dev/authenticated/v0.1\", for: SECURITY";
            let supergraph = load(&format!("@link({url}{link})"), &types).expect("it loads");
            told(&supergraph, "Query.a").len()
        };
        for (link, directive) in [
            ("", "authenticated"),
            (", import: [\"@authenticated\"]", "authenticated"),
            (", import: [{name: \"@authenticated\", as: \"@in\"}]", "in"),
            (", as: \"auth\"", "auth"),
            (
                ", as: \"auth\", import: [\"@authenticated\"]",
                "authenticated",
            ),
            (
                ", as: \"auth\", import: [{name: \"@authenticated\", as: \"@in\"}]",
                "in",
            ),
            (
                ", as: \"auth\", import: [{name: \"@authenticated\", as: \"@in\"}]",
                "auth",
            ),
            ("", "authenticated__authenticated"),
        ] {
            assert_eq!(name(link, directive), 1, "{link} @{directive}");
        }
        // Another directive may have the name that was given up.
        assert_eq!(name(", as: \"auth\"", "authenticated"), 0);
    }

    /// A composer that writes no links writes the directives' own names.
    #[test]
    fn directives_without_a_link_count_by_their_own_names() {
        let supergraph = load(
            "",
            "type Query @join__type(graph: A) { a: Int @authenticated b: Int @policy(policies: [[\"p\"]]) c: Int @policy(name: \"other\") }",
        )
        .expect("it loads");
        assert_eq!(told(&supergraph, "Query.a"), ["authenticated"]);
        assert_eq!(told(&supergraph, "Query.b"), ["policies [[\"p\"]]"]);
        assert_eq!(told(&supergraph, "Query.c"), [""; 0]);
    }

    #[test]
    fn an_interface_binds_its_implementations_unless_it_was_generated_from_them() {
        let supergraph = load(
            AUTHENTICATED,
            "type Query @join__type(graph: A) { own: Own generated: Generated }
             interface Own @join__type(graph: A) @requiresScopes(scopes: [[\"i\"]]) { f: Int @authenticated g: Int }
             type O1 implements Own @join__type(graph: A) { f: Int g: Int only: Int }
             type O2 implements Own @join__type(graph: A) { f: Int @requiresScopes(scopes: [[\"o\"]]) g: Int }
             interface Generated @join__type(graph: A) { f: Int @authenticated g: Int @requiresScopes(scopes: [[\"a\", \"b\"], [\"a\", \"c\"]]) h: Int @requiresScopes(scopes: [[\"z\"]]) }
             type G1 implements Generated @join__type(graph: A) { f: Int @authenticated g: Int @requiresScopes(scopes: [[\"a\"]]) h: Int }
             type G2 implements Generated @join__type(graph: A) { f: Int g: Int @requiresScopes(scopes: [[\"b\"], [\"c\"]]) h: Int @requiresScopes(scopes: [[\"y\"], [\"z\"]]) }",
        )
        .expect("it loads");
        let i = "scopes [[\"i\"]]";
        assert_eq!(told(&supergraph, "Query.own"), [i]);
        assert_eq!(told(&supergraph, "O1.f"), ["authenticated", i]);
        assert_eq!(told(&supergraph, "O1.only"), [i]);
        assert_eq!(
            told(&supergraph, "O2.f"),
            ["authenticated", i, "scopes [[\"o\"]]"]
        );
        assert_eq!(
            told(&supergraph, "Own.f"),
            ["authenticated", i, "scopes [[\"o\"]]"]
        );
        assert_eq!(told(&supergraph, "G1.f"), ["authenticated"]);
        assert_eq!(told(&supergraph, "G2.f"), [""; 0]);
        assert_eq!(told(&supergraph, "G1.g"), ["scopes [[\"a\"]]"]);
        assert_eq!(told(&supergraph, "G2.g"), ["scopes [[\"b\"], [\"c\"]]"]);
        assert_eq!(told(&supergraph, "G1.h"), ["scopes [[\"z\"]]"]);
        assert_eq!(told(&supergraph, "Generated.f"), ["authenticated"]);
    }

    /// What a composer generates is the whole conjunction. Anything else is an author's, whatever an implementation
    /// repeats of it.
    #[test]
    fn an_interface_that_requires_less_or_more_than_its_implementations_binds_them() {
        let told_of = |interface: &str, one: &str| {
            let supergraph = load(
                AUTHENTICATED,
                &format!(
                    "type Query @join__type(graph: A) {{ i: I }}
                     interface I @join__type(graph: A) {{ f: Int {interface} }}
                     type One implements I @join__type(graph: A) {{ f: Int {one} }}
                     type Other implements I @join__type(graph: A) {{ f: Int }}"
                ),
            );
            told(&supergraph.expect("it loads"), "Other.f")
        };
        let x = "@requiresScopes(scopes: [[\"x\"]])";
        let nothing = "@requiresScopes(scopes: [])";
        for (interface, one, expected) in [
            (
                "@authenticated",
                format!("@authenticated {x}"),
                "authenticated",
            ),
            (
                x,
                format!("{x} @policy(policies: [[\"p\"]])"),
                "scopes [[\"x\"]]",
            ),
            (x, nothing.to_owned(), "scopes [[\"x\"]]"),
            (nothing, x.to_owned(), "scopes []"),
            (
                x,
                "@requiresScopes(scopes: [[\"x\", \"y\"]])".to_owned(),
                "scopes [[\"x\"]]",
            ),
        ] {
            assert_eq!(
                told_of(interface, &one),
                [expected],
                "{interface} and {one}"
            );
        }
        for same in [
            "@authenticated",
            x,
            nothing,
            "@requiresScopes(scopes: [[]])",
        ] {
            assert_eq!(told_of(same, same), [""; 0], "{same}");
        }
        let both = format!("{x} @authenticated");
        let bound = told_of(&both, "@authenticated");
        assert_eq!(bound, ["authenticated", "scopes [[\"x\"]]"]);
    }

    /// Implementations that require the same count once, however many there are.
    #[test]
    fn a_requirement_of_many_implementations_is_recognised_as_generated() {
        let scopes = "@requiresScopes(scopes: [[\"a\"], [\"b\"]])";
        let types: String = (0..20)
            .map(|it| {
                format!("type T{it} implements I @join__type(graph: A) {{ f: Int {scopes} }} ")
            })
            .collect();
        let supergraph = load(
            AUTHENTICATED,
            &format!(
                "type Query @join__type(graph: A) {{ i: I }}
                 interface I @join__type(graph: A) {{ f: Int {scopes} }}
                 type Open implements I @join__type(graph: A) {{ f: Int }} {types}"
            ),
        );
        assert_eq!(told(&supergraph.expect("it loads"), "Open.f"), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for directive in [
            "@requiresScopes",
            "@requiresScopes(scopes: null)",
            "@requiresScopes(scopes: [[null]])",
            "@requiresScopes(scopes: [[[\"a\"]]])",
            "@policy(policies: [[1]])",
        ] {
            let types = format!("type Query @join__type(graph: A) {{ a: Int {directive} }}");
            let refused = load(AUTHENTICATED, &types).err();
            let refused = refused.unwrap_or_else(|| panic!("{directive} was read"));
            assert!(refused.contains("at Query.a needs"), "{refused}");
        }
    }

    #[test]
    fn more_requirements_than_are_allowed_are_refused() {
        let types = |count: usize| {
            let fields: String = (0..count)
                .map(|it| format!("f{it}: Int @policy(policies: [[\"{it}\"]]) "))
                .collect();
            load(
                AUTHENTICATED,
                &format!("type Query @join__type(graph: A) {{ {fields} }}"),
            )
        };
        assert!(types(super::REQUIREMENTS_MAX).is_ok());
        let refused = types(super::REQUIREMENTS_MAX + 1).err().expect("too many");
        assert!(refused.contains("more than 10000 distinct"), "{refused}");
    }
}
