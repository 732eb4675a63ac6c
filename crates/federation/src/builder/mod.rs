//! Making the plan: selections become selections of fetches, and fetches are added where there are none.
//!
//! A [`PlanBuilder`] is the only one that writes to the plan. At each path it has a
//! [`RouteFinder`] choose the subgraph of every selection, adds a fetch to the path where that subgraph
//! has none ([`PlanBuilder::reach`]), and goes on below. What keys and requirements need is selected by
//! the same rules as what the client wants.

mod reach;
mod select;
mod typename;

pub(crate) use select::DEPTH_MAX;

use std::{collections::HashMap, time::Instant};

use apollo_compiler::{Name, executable::OperationType};

use crate::{
    Operation, Overrides, PlanError, Supergraph,
    plan::{
        Begin, FetchId, FetchSet, Fetches, PathFetch, PathId, PathStep, Paths, Plan, Provided,
        ROOT, SelectionSetId,
    },
    routes::{LEVELS, Memo, Purpose, Reaching, Request, Requiring, RouteFinder, Wanted},
    selection::{Field, Selection},
    supergraph::SubgraphIndex,
    types::TypeId,
};

/// How an operation is planned.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PlanOptions {
    /// Which progressive overrides hold. None holds by default.
    pub overrides: Overrides,
    /// Until when there has to be a plan. There is no deadline by default: the steps of a plan are limited
    /// anyway.
    pub deadline: Option<Instant>,
}

impl PlanOptions {
    /// Plans for the requests for which these overrides hold.
    #[must_use]
    pub fn overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Gives up with [`PlanError::OutOfTime`] after `deadline`.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// Plans an operation. The same supergraph, operation and overrides always get the same plan.
///
/// # Errors
/// [`PlanError::Unreachable`] when no subgraph can be asked for something. The other errors are limits.
pub fn plan<'a>(
    supergraph: &'a Supergraph,
    operation: &'a Operation,
    options: PlanOptions,
) -> Result<Plan<'a>, PlanError> {
    let mut unreachable = None;
    for levels_max in LEVELS {
        let request = Request {
            supergraph,
            kind: operation.kind,
            overrides: options.overrides,
            deadline: options.deadline,
            levels_max,
        };
        match attempt(request, operation) {
            (Err(none @ PlanError::Unreachable(_)), is_all) => {
                let none = unreachable.take().unwrap_or(none);
                if is_all {
                    return Err(none);
                }
                unreachable = Some(none);
            }
            (plan, _) => return plan,
        }
    }
    Err(unreachable.unwrap_or(PlanError::TooLarge))
}

/// A plan made with as many levels as the request has, and whether more levels would change nothing.
fn attempt<'a>(
    request: Request<'a>,
    operation: &'a Operation,
) -> (Result<Plan<'a>, PlanError>, bool) {
    let memo = Memo::new(count(&operation.selections));
    let plan = match plan_within(request, operation, &memo) {
        Err(PlanError::Unreachable(_)) if request.is_late() => Err(PlanError::OutOfTime),
        Err(PlanError::Unreachable(place)) if memo.is_stopped() => {
            Err(PlanError::TooManySteps(place))
        }
        plan => plan,
    };
    (plan, !memo.is_cut_off())
}

fn plan_within<'a>(
    request: Request<'a>,
    operation: &'a Operation,
    memo: &Memo<'a>,
) -> Result<Plan<'a>, PlanError> {
    let supergraph = request.supergraph;
    let root = supergraph
        .root(operation.kind)
        .ok_or_else(|| PlanError::Unreachable("the operation".into()))?;
    let mut builder = PlanBuilder {
        request,
        memo,
        fetches: Fetches::default(),
        paths: Paths::new(root),
        leaves: HashMap::new(),
        objects: HashMap::new(),
    };
    let set = &operation.selections;
    match operation.kind {
        OperationType::Query => {
            builder.select(ROOT, set, Context::default())?;
        }
        OperationType::Mutation | OperationType::Subscription => {
            builder.select_in_order(set, &mut 0)?;
        }
    }
    builder.leave_out_empty();
    Ok(Plan {
        supergraph,
        fetches: builder.fetches,
        paths: builder.paths,
        steps: memo.steps(),
    })
}

fn count(selections: &[Selection]) -> usize {
    let below = selections.iter().map(|selection| match selection {
        Selection::Field(field) => count(&field.set),
        Selection::On(on) => count(&on.set),
    });
    selections.len() + below.sum::<usize>()
}

/// What the selections that are being planned are part of.
#[derive(Clone, Copy)]
struct Context<'s, 'a> {
    purpose: Purpose,
    /// The fields whose requirements led here.
    requiring: Option<&'s Requiring<'s, 'a>>,
    /// The subgraphs whose keys led here.
    reaching: Option<&'s Reaching<'s>>,
    /// The number of the mutation's fetch that led here; 0 for anything else.
    turn: usize,
    /// How many selection sets led here.
    depth: usize,
}

impl Default for Context<'_, '_> {
    fn default() -> Self {
        Self {
            purpose: Purpose::Client,
            requiring: None,
            reaching: None,
            turn: 0,
            depth: 0,
        }
    }
}

impl<'s, 'a> Context<'s, 'a> {
    fn with(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    fn wanted(self) -> Wanted<'s, 'a> {
        Wanted {
            purpose: self.purpose,
            requiring: self.requiring,
            reaching: self.reaching,
        }
    }
}

/// A plan in the making.
struct PlanBuilder<'m, 'a> {
    request: Request<'a>,
    memo: &'m Memo<'a>,
    fetches: Fetches<'a>,
    paths: Paths<'a>,
    /// The leaves that are selected, by their paths and keys, and the fetches that bring them.
    leaves: HashMap<(PathId, &'a Name), FetchSet>,
    /// The same of objects that representations hold, by their paths and the addresses of their fields. What
    /// several fields require of them is planned once.
    objects: HashMap<(PathId, usize), FetchSet>,
}

impl<'a> PlanBuilder<'_, 'a> {
    fn supergraph(&self) -> &'a Supergraph {
        self.request.supergraph
    }

    fn routes(&self) -> RouteFinder<'_, 'a> {
        RouteFinder::new(self.request, &self.paths, &self.fetches, self.memo)
    }

    /// `__typename`, as fetches add it.
    fn typename(&self) -> &'a Field {
        self.supergraph().typename()
    }

    /// Plans the root fields of a mutation one after the other. What comes from one subgraph without
    /// another's in between is one fetch; `turn` counts them.
    fn select_in_order(&mut self, set: &'a [Selection], turn: &mut usize) -> Result<(), PlanError> {
        for selection in set {
            let field = match selection {
                Selection::Field(field) => field,
                Selection::On(on) => {
                    self.select_in_order(&on.set, turn)?;
                    continue;
                }
            };
            let last = self.paths.fetches(ROOT).first().map(|it| it.subgraph);
            let subgraph = self.routes().root_subgraph(ROOT, field, last)?;
            if last != Some(subgraph) {
                self.paths.clear_fetches(ROOT);
                *turn += 1;
                let ty = self.paths.ty(ROOT);
                self.add_fetch(ROOT, subgraph, Begin::Root, ty, Provided::default(), *turn);
            }
            let context = Context {
                turn: *turn,
                ..Context::default()
            };
            self.select(ROOT, std::slice::from_ref(selection), context)?;
        }
        Ok(())
    }

    /// Adds a fetch that begins at a path's objects.
    fn add_fetch(
        &mut self,
        path: PathId,
        subgraph: SubgraphIndex,
        begin: Begin<'a>,
        view: TypeId,
        provided: Provided<'a>,
        turn: usize,
    ) -> FetchId {
        let fetch = self.fetches.add(subgraph, begin, view);
        let added = self.fetches.get_mut(fetch);
        added.turn = turn;
        let set = added.set;
        let at_path = PathFetch {
            subgraph,
            view,
            fetch,
            set,
            provided,
        };
        self.paths.add_fetch(path, at_path);
        fetch
    }

    /// Leaves out what was selected only because something might come of it.
    fn leave_out_empty(&mut self) {
        for path in self.paths.bottom_up() {
            if let Some((_, PathStep::Field(_))) = self.paths.parent(path) {
                // What a fetch begins with is of objects that others have brought.
                let brought = self.paths.fetches(path).iter().filter(|here| {
                    let fetch = self.fetches.get(here.fetch);
                    fetch.set != here.set
                });
                let sets: Vec<SelectionSetId> = brought.map(|here| here.set).collect();
                self.fetches.leave_out_empty(&sets);
            }
        }
    }
}
