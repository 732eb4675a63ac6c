// Editing a post. Nothing of it is lost: not when the form is closed, not when somebody else changes the post.

import { useMutation } from '@apollo/client/react';
import { useState } from 'react';

import { dropDraft, keepDraft, type PostDraft, readDraft } from './drafts';
import { type OpenPostFragment, UpdatePostDocument } from './graph/generated';
import { contentVersionOf, noteContent, readPost } from './graph/read';
import { PostForm } from './PostForm';
import { hasCode } from './words';

export function PostEditor({ post, onDone }: { post: OpenPostFragment; onDone: () => void }) {
  const key = `post.${post.id}` as const;
  const [kept] = useState(() => readDraft(key));
  const [draft, setDraft] = useState<PostDraft>(kept ?? { ...textsOf(post), base: baseOf(post) });
  const [update, { loading, error }] = useMutation(UpdatePostDocument);
  const base = draft.base ?? baseOf(post);

  const write = (changed: PostDraft) => {
    setDraft(changed);
    const isSame = changed.title === changed.base?.title && changed.content === changed.base.content;
    if (isSame) dropDraft(key);
    else keepDraft(key, changed);
  };
  const discard = () => {
    dropDraft(key);
    onDone();
  };
  const version = contentVersionOf(post);
  const hasConflict =
    version !== base.updatedAt && (post.title !== base.title || post.content !== base.content);

  return (
    <PostForm
      draft={draft}
      onWrite={(title, content) => write({ ...draft, title, content })}
      saveLabel="Save"
      saving={loading}
      error={hasCode(error, 'CONFLICT') ? undefined : error}
      conflict={
        hasConflict
          ? {
              texts: [post.title, post.content],
              onMine: () => write({ ...draft, base: baseOf(post) }),
              onTheirs: discard,
            }
          : undefined
      }
      onCancel={onDone}
      onDiscard={draft.title !== base.title || draft.content !== base.content ? discard : undefined}
      wasKept={kept !== undefined}
      onSave={async (title, content) => {
        const input = { id: post.id, title, content, ifUpdatedAt: version };
        try {
          const { data } = await update({ variables: { input } });
          if (data) noteContent(data.updatePost.post as OpenPostFragment);
          discard();
        } catch (failure) {
          if (hasCode(failure, 'CONFLICT') || hasCode(failure, 'NOT_FOUND'))
            await readPost(post.id).catch(() => {});
        }
      }}
    />
  );
}

function textsOf({ title, content }: OpenPostFragment): { title: string; content: string } {
  return { title, content };
}

function baseOf(post: OpenPostFragment): NonNullable<PostDraft['base']> {
  return { ...textsOf(post), updatedAt: contentVersionOf(post) };
}
