// What one can do about somebody else's comment: report it, or hide it as a moderator.

import { useState } from 'react';

import { useSession } from '../../signIn/useSession';
import { client } from '../graph/client';
import { HideCommentDocument, ReportCommentDocument } from '../graph/generated';
import { forgetComment } from '../graph/lists';
import { hasCode } from '../words';
import { ReasonForm } from './ReasonForm';

export type ComplaintKind = 'report' | 'hide';

/** What the reader can do about it; nothing about one's own, or without being signed in. */
export function useComplaintKind({ authorId }: { authorId?: string | null }): ComplaintKind | undefined {
  const session = useSession();
  if (!session || (authorId != null && session.ids.includes(authorId))) return undefined;
  return session.moderator ? 'hide' : 'report';
}

interface ComplaintProps {
  kind: ComplaintKind;
  commentId: string;
  onDone: () => void;
}

export function Complaint({ kind, commentId, onDone }: ComplaintProps) {
  const [isReported, setReported] = useState(false);
  if (isReported)
    return (
      <p className="held" role="status">
        Reported. A moderator will look at it.
      </p>
    );

  const act = async (reason: string) => {
    const variables = { input: { id: commentId, reason } };
    try {
      if (kind === 'hide') await client.mutate({ mutation: HideCommentDocument, variables });
      else await client.mutate({ mutation: ReportCommentDocument, variables });
    } catch (failure) {
      if (!hasCode(failure, 'NOT_FOUND')) throw failure;
    }
    if (kind === 'hide') forgetComment(commentId);
    else setReported(true);
  };
  return kind === 'hide' ? (
    <ReasonForm label="Why it is hidden" act="Hide" onAct={act} onDone={onDone} />
  ) : (
    <ReasonForm
      label="What is wrong with it"
      act="Report"
      onAct={act}
      // Once it is reported, the thanks stay.
      onDone={(isDone) => isDone || onDone()}
    />
  );
}
