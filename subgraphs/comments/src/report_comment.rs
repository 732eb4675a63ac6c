//! The mutation `reportComment`: brings a comment to the moderators.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::moderation_acts::REASON;
use subgraph::{AccessError, Blocks, Viewer};

use crate::comment::{Comment, CommentId};
use crate::store::Report;
use crate::{Error, Store};

/// The comment to report.
#[derive(InputObject)]
pub struct ReportCommentInput {
    /// The id of the comment to report.
    id: CommentId,
    /// What is wrong with it, for moderators to read: 1 to 500 characters, at least one of them visible.
    reason: String,
}

/// The result of `reportComment`.
#[derive(SimpleObject)]
pub struct ReportCommentPayload {
    /// The comment. Everybody still sees it, until a moderator decides.
    comment: Comment,
}

#[derive(Default)]
pub struct ReportComment;

#[Object]
impl ReportComment {
    /// Reports a comment to the moderators. Each person's first report of a comment counts; further ones have the same
    /// result and change nothing, also after a moderator has decided. Fails with NOT_FOUND if the comment does not
    /// exist, with BAD_USER_INPUT if the reason is blank or too long, with UNAUTHENTICATED if you are not signed in,
    /// and with FORBIDDEN if a moderator has blocked you.
    async fn report_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment, and what is wrong with it.")] input: ReportCommentInput,
    ) -> Result<ReportCommentPayload, Error> {
        let viewer = Viewer::of(ctx);
        let by = viewer.person().ok_or(AccessError::GuestReports)?.id.clone();
        let reason = REASON.check(input.reason)?;
        let blocks = ctx.data_unchecked::<Blocks>();
        blocks.require_unblocked::<Error>(&viewer).await?;
        let store = ctx.data_unchecked::<Store>();
        let report = Report {
            id: input.id,
            by,
            reason,
        };
        let comment = store.report_comment(report).await?;
        let comment = comment.ok_or(Error::CommentNotFound(input.id))?;
        Ok(ReportCommentPayload { comment })
    }
}
