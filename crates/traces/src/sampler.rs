//! Which traces are recorded.

use std::str::FromStr;

use crate::TraceContext;

/// Chooses traces, as `OTEL_TRACES_SAMPLER` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplerKind {
    /// `always_on`
    AlwaysOn,
    /// `always_off`
    AlwaysOff,
    /// `traceidratio`
    Ratio,
    /// `parentbased_always_on`
    ParentOrOn,
    /// `parentbased_always_off`
    ParentOrOff,
    /// `parentbased_traceidratio`
    ParentOrRatio,
}

impl FromStr for SamplerKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.trim() {
            "always_on" => Self::AlwaysOn,
            "always_off" => Self::AlwaysOff,
            "traceidratio" => Self::Ratio,
            // What an empty variable means.
            "" | "parentbased_always_on" => Self::ParentOrOn,
            "parentbased_always_off" => Self::ParentOrOff,
            "parentbased_traceidratio" => Self::ParentOrRatio,
            _ => {
                let names = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off \
                             or parentbased_traceidratio is expected";
                return Err(names.to_owned());
            }
        })
    }
}

/// Decides for a whole trace: all services that know its id decide the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampler {
    pub(crate) kind: SamplerKind,
    /// From 0 to 1.
    pub(crate) ratio: f64,
}

impl Sampler {
    /// Whether a span with this parent is recorded. `context` is its own, or that of its parent.
    pub(crate) fn samples(self, parent: Option<&TraceContext>, context: &TraceContext) -> bool {
        use SamplerKind::{AlwaysOff, AlwaysOn, ParentOrOff, ParentOrOn, ParentOrRatio, Ratio};
        match (self.kind, parent) {
            (ParentOrOn | ParentOrOff | ParentOrRatio, Some(parent)) => parent.is_sampled,
            (AlwaysOn | ParentOrOn, _) => true,
            (AlwaysOff | ParentOrOff, _) => false,
            (Ratio | ParentOrRatio, _) => self.has_chosen(context),
        }
    }

    /// As OpenTelemetry's SDKs compute it: by 63 bits of the trace's id.
    fn has_chosen(self, context: &TraceContext) -> bool {
        let [.., a, b, c, d, e, f, g, h] = context.trace_id;
        let bits = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
        self.ratio >= 1.0 || bits < (self.ratio * (1u64 << 63) as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(kind: SamplerKind, ratio: f64, parent: Option<bool>) -> f64 {
        let sampler = Sampler { kind, ratio };
        let samples = (0..1_000).filter(|_| {
            let parent = parent.map(TraceContext::new_trace);
            let context = parent.unwrap_or_else(|| TraceContext::new_trace(false));
            sampler.samples(parent.as_ref(), &context)
        });
        samples.count() as f64 / 1e3
    }

    #[test]
    fn the_parent_decides_where_it_is_asked() {
        for kind in [
            SamplerKind::ParentOrOn,
            SamplerKind::ParentOrOff,
            SamplerKind::ParentOrRatio,
        ] {
            assert_eq!(share(kind, 0.5, Some(true)), 1.0);
            assert_eq!(share(kind, 0.5, Some(false)), 0.0);
        }
        assert_eq!(share(SamplerKind::AlwaysOn, 0.0, Some(false)), 1.0);
        assert_eq!(share(SamplerKind::AlwaysOff, 1.0, Some(true)), 0.0);
        assert_eq!(share(SamplerKind::ParentOrOn, 0.0, None), 1.0);
        assert_eq!(share(SamplerKind::ParentOrOff, 1.0, None), 0.0);
    }

    #[test]
    fn a_ratio_takes_its_share_of_traces() {
        for kind in [SamplerKind::Ratio, SamplerKind::ParentOrRatio] {
            assert_eq!(share(kind, 0.0, None), 0.0);
            assert_eq!(share(kind, 1.0, None), 1.0);
            // Six standard deviations.
            assert!((0.4..0.6).contains(&share(kind, 0.5, None)));
        }
    }
}
