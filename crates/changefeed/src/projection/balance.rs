//! Which instance leads which partition: each about as many as the others.
//!
//! Every instance computes this for itself, from the instances that have said that they live and from the leases. Two may
//! see different things for a moment: then the lease decides, and a difference that is left is evened out at the next
//! look. A partition moves only where that evens out a difference.

/// A partition, as its lease shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The instance that has the lease; `None` where it is free.
    pub owner: Option<String>,
    /// Whether it has been free for so long that anybody may take it: whoever should does not.
    pub is_abandoned: bool,
    /// The instance that failed to lead it a short time ago: others go first.
    pub failed_at: Option<String>,
}

/// How many partitions an instance leads.
struct Load<'a> {
    instance: &'a str,
    partitions: usize,
}

/// The loads of all instances, in the order of their names.
struct Loads<'a>(Vec<Load<'a>>);

impl<'a> Loads<'a> {
    fn new(instances: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<&str> = instances.collect();
        names.sort_unstable();
        names.dedup();
        let load = |instance| Load {
            instance,
            partitions: 0,
        };
        Self(names.into_iter().map(load).collect())
    }

    fn of(&mut self, instance: &str) -> Option<&mut Load<'a>> {
        self.0.iter_mut().find(|load| load.instance == instance)
    }

    /// The first of those with the fewest; this one only where there is no other.
    fn least_but(&mut self, last: Option<&str>) -> Option<&mut Load<'a>> {
        let rank = |load: &&mut Load<'_>| (Some(load.instance) == last, load.partitions);
        self.0.iter_mut().min_by_key(rank)
    }

    /// The first of those with the most.
    fn is_first_of_most(&self, instance: &str) -> bool {
        let most = self.0.iter().map(|load| load.partitions).max();
        let first = self.0.iter().find(|load| Some(load.partitions) == most);
        first.is_some_and(|first| first.instance == instance)
    }
}

/// For each partition whether the instance `me` should lead it.
pub(crate) fn duties(me: &str, members: &[String], partitions: &[Seen]) -> Vec<bool> {
    let owners = partitions.iter().filter_map(|seen| seen.owner.as_deref());
    // An instance that has said nothing for a while may still hold a lease.
    let instances = members.iter().map(String::as_str).chain(owners.clone());
    let mut loads = Loads::new(instances.chain([me]));
    for owner in owners {
        if let Some(load) = loads.of(owner) {
            load.partitions += 1;
        }
    }
    let mut duties = Vec::with_capacity(partitions.len());
    for seen in partitions {
        duties.push(match &seen.owner {
            Some(owner) => owner == me,
            // Those that are free go to those with the fewest, one by one.
            None => loads
                .least_but(seen.failed_at.as_deref())
                .is_some_and(|load| {
                    load.partitions += 1;
                    load.instance == me || seen.is_abandoned
                }),
        });
    }
    give_up(me, &mut loads, partitions, &mut duties);
    duties
}

/// Gives partitions up for instances that have fewer, while this one has the most.
fn give_up(me: &str, loads: &mut Loads<'_>, partitions: &[Seen], duties: &mut [bool]) {
    for (seen, duty) in partitions.iter().zip(duties).rev() {
        if seen.owner.as_deref() != Some(me) {
            continue;
        }
        let mine = loads.of(me).map_or(0, |load| load.partitions);
        if !loads.is_first_of_most(me) {
            return;
        }
        match loads.least_but(seen.failed_at.as_deref()) {
            Some(least) if least.partitions + 2 <= mine => least.partitions += 1,
            // Another one may go where this one may not.
            _ if seen.failed_at.is_some() => continue,
            _ => return,
        }
        if let Some(load) = loads.of(me) {
            load.partitions -= 1;
        }
        *duty = false;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn seen(owners: &[Option<&str>]) -> Vec<Seen> {
        let seen = |owner: &Option<&str>| Seen {
            owner: owner.map(str::to_owned),
            is_abandoned: false,
            failed_at: None,
        };
        owners.iter().map(seen).collect()
    }

    /// Lets each instance look in turn, again and again, until nothing changes. Returns how many each leads, and how many
    /// partitions were moved.
    fn settle(members: &[&str], mut partitions: Vec<Seen>) -> (HashMap<String, usize>, usize) {
        let members = names(members);
        let mut moves = 0;
        for _ in 0..20 {
            let before = partitions.clone();
            for me in &members {
                let duties = duties(me, &members, &partitions);
                for (seen, duty) in partitions.iter_mut().zip(duties) {
                    match (seen.owner.as_ref() == Some(me), duty) {
                        (true, false) => {
                            seen.owner = None;
                            moves += 1;
                        }
                        (false, true) if seen.owner.is_none() => seen.owner = Some(me.clone()),
                        _ => {}
                    }
                }
            }
            if partitions == before {
                break;
            }
        }
        let mut held: HashMap<String, usize> = HashMap::new();
        for owner in partitions.into_iter().filter_map(|seen| seen.owner) {
            *held.entry(owner).or_default() += 1;
        }
        (held, moves)
    }

    fn held(counts: &[(&str, usize)]) -> HashMap<String, usize> {
        let counts = counts.iter();
        counts
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn one_instance_leads_all_and_several_share() {
        let free = seen(&[None; 4]);
        assert_eq!(settle(&["a"], free.clone()).0, held(&[("a", 4)]));
        let two = held(&[("a", 2), ("b", 2)]);
        assert_eq!(settle(&["a", "b"], free.clone()).0, two);
        let three = held(&[("a", 2), ("b", 1), ("c", 1)]);
        assert_eq!(settle(&["a", "b", "c"], free).0, three);
    }

    #[test]
    fn a_new_instance_gets_its_share_and_nothing_else_moves() {
        let all = seen(&[Some("a"); 4]);
        let (shares, moves) = settle(&["a", "b"], all);
        assert_eq!((shares, moves), (held(&[("a", 2), ("b", 2)]), 2));
        let shared = seen(&[Some("a"), Some("b"), Some("a"), Some("b")]);
        let (shares, moves) = settle(&["a", "b", "c"], shared);
        assert_eq!(shares, held(&[("a", 1), ("b", 2), ("c", 1)]));
        assert_eq!(moves, 1);
    }

    #[test]
    fn what_an_ended_instance_had_goes_to_those_with_the_fewest() {
        let left = seen(&[Some("a"), Some("a"), None, None]);
        let (shares, moves) = settle(&["a", "b"], left);
        assert_eq!((shares, moves), (held(&[("a", 2), ("b", 2)]), 0));
    }

    #[test]
    fn what_failed_at_an_instance_goes_to_another_and_does_not_come_back() {
        let mut partitions = seen(&[Some("a"), None, Some("b"), Some("b")]);
        partitions[1].failed_at = Some("a".to_owned());
        let members = names(&["a", "b"]);
        assert!(!duties("a", &members, &partitions)[1]);
        assert!(duties("b", &members, &partitions)[1]);
        partitions[1].owner = Some("b".to_owned());
        // It gives up another one instead.
        let kept = duties("b", &members, &partitions);
        assert_eq!(kept, [false, true, true, false]);
        let (shares, moves) = settle(&["a", "b"], partitions.clone());
        assert_eq!((shares, moves), (held(&[("a", 2), ("b", 2)]), 1));
        partitions[1].owner = None;
        assert!(duties("a", &names(&["a"]), &partitions[..2])[1], "alone");
    }

    #[test]
    fn what_is_free_for_long_is_anybodys() {
        let mut partitions = seen(&[Some("a"), None]);
        let members = names(&["a", "dead"]);
        assert_eq!(duties("a", &members, &partitions), [true, false]);
        partitions[1].is_abandoned = true;
        assert_eq!(duties("a", &members, &partitions), [true, true]);
    }
}
