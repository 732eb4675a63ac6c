// Writing a post.

import { useMutation } from '@apollo/client/react';
import { useState } from 'react';

import { useSession } from '../signIn/useSession';
import { useAuthorName } from './authorName';
import { dropDraft, keepDraft, type PostDraft, readDraft } from './drafts';
import { CreatePostDocument, type OpenPostFragment } from './graph/generated';
import { insertPost } from './graph/lists';
import { noteContent } from './graph/read';
import { PostForm } from './PostForm';

const KEY = 'post.new';
const EMPTY: PostDraft = { title: '', content: '' };

export function NewPost({ onDone }: { onDone: (id?: string) => void }) {
  const session = useSession();
  const [guest, setGuest] = useAuthorName();
  const author = session?.name ?? guest;
  const [kept] = useState(() => readDraft(KEY));
  const [draft, setDraft] = useState(kept ?? EMPTY);
  const [create, { loading, error }] = useMutation(CreatePostDocument);

  const write = (title: string, content: string) => {
    setDraft({ title, content });
    if (title.trim() === '' && content.trim() === '') dropDraft(KEY);
    else keepDraft(KEY, { title, content });
  };
  const save = async (title: string, content: string) => {
    const { data } = await create({
      variables: { input: { title, content, author: author.trim() || null } },
    });
    if (!data) return;
    const post = data.createPost.post as OpenPostFragment;
    dropDraft(KEY);
    noteContent(post);
    insertPost(post.id);
    onDone(post.id);
  };

  return (
    <article className="post">
      <h1>New post</h1>
      <PostForm
        draft={draft}
        onWrite={write}
        saveLabel="Publish"
        saving={loading}
        error={error}
        onSave={save}
        onCancel={() => onDone()}
        onDiscard={draft.title || draft.content ? () => write('', '') : undefined}
        wasKept={kept !== undefined}
      >
        {session ? (
          <p className="writes-as">
            as <span className="name">{session.name}</span>
          </p>
        ) : (
          <label>
            Your name
            <input
              value={guest}
              maxLength={100}
              placeholder="Anonymous"
              autoComplete="nickname"
              onChange={(event) => setGuest(event.target.value)}
            />
          </label>
        )}
      </PostForm>
    </article>
  );
}
