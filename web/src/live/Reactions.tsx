// The reactions to a comment: how many people chose each, and the reader's own, which a button sets and removes.

import { useFragment, useMutation } from '@apollo/client/react';

import { useSession } from '../signIn/useSession';
import {
  type CommentPartsFragment,
  OwnReactionFragmentDoc,
  type Reaction,
  SetReactionDocument,
} from './graph/generated';
import { wordsFor } from './words';

const REACTIONS: readonly { reaction: Reaction; sign: string; name: string }[] = [
  { reaction: 'LIKE', sign: '👍', name: 'Like' },
  { reaction: 'LOVE', sign: '❤️', name: 'Love' },
  { reaction: 'LAUGH', sign: '😄', name: 'Laugh' },
  { reaction: 'SURPRISED', sign: '😮', name: 'Surprised' },
  { reaction: 'SAD', sign: '😢', name: 'Sad' },
];

export function Reactions({ comment }: { comment: CommentPartsFragment }) {
  const session = useSession();
  const own = useFragment({
    fragment: OwnReactionFragmentDoc,
    fragmentName: 'OwnReaction',
    from: { __typename: 'Comment', id: comment.id },
  });
  const chosen = session && own.complete ? own.data.viewerReaction : null;
  const [set, { loading, error }] = useMutation(SetReactionDocument);
  const countOf = (wanted: Reaction) =>
    comment.reactions.find(({ reaction }) => reaction === wanted)?.count ?? 0;
  const choose = (reaction: Reaction) => {
    if (loading) return;
    const input = { commentId: comment.id, reaction: reaction === chosen ? null : reaction };
    // `error` has what goes wrong.
    set({ variables: { input } }).catch(() => {});
  };

  if (!session && comment.reactions.length === 0) return null;
  return (
    <div className="reactions" role="group" aria-label={`Reactions to the comment by ${comment.author}`}>
      {REACTIONS.filter(({ reaction }) => session || countOf(reaction) > 0).map(
        ({ reaction, sign, name }) => {
          const count = countOf(reaction);
          const shown = (
            <>
              <span aria-hidden="true">{sign}</span>
              <span className="unseen">{name}</span>
              {count > 0 && <span className="reaction-count">{count.toLocaleString()}</span>}
            </>
          );
          return session ? (
            <button
              key={reaction}
              type="button"
              className="reaction"
              aria-pressed={reaction === chosen}
              onClick={() => choose(reaction)}
            >
              {shown}
            </button>
          ) : (
            <span key={reaction} className="reaction">
              {shown}
            </span>
          );
        },
      )}
      {error && (
        <p className="form-error" role="alert">
          {wordsFor(error)}
        </p>
      )}
    </div>
  );
}
