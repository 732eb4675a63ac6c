// Writing a comment. What could not be sent stays in the field.

import { useMutation } from '@apollo/client/react';
import { type FormEvent, useRef, useState } from 'react';

import { useAuthorName } from './authorName';
import { CreateCommentDocument } from './graph/generated';
import { insertComment } from './graph/lists';
import { newIdempotencyKey } from './idempotencyKey';
import { sendOnShortcut } from './keys';
import { wordsFor } from './Notices';

export function Composer({ postId }: { postId: string }) {
  const [author, setAuthor] = useAuthorName();
  const [text, setText] = useState('');
  const [create, { loading, error }] = useMutation(CreateCommentDocument);
  // The same key for every try of the same comment: one whose answer got lost is not doubled.
  const attempt = useRef({ text: '', author: '', key: '' });

  const send = async (event: FormEvent) => {
    event.preventDefault();
    const wanted = { text: text.trim(), author: author.trim() };
    if (wanted.text === '' || loading) return;
    const { text: tried, author: triedAs } = attempt.current;
    if (tried !== wanted.text || triedAs !== wanted.author)
      attempt.current = { ...wanted, key: newIdempotencyKey() };
    const input = {
      postId,
      text: wanted.text,
      author: wanted.author || null,
      idempotencyKey: attempt.current.key,
    };
    try {
      const { data } = await create({ variables: { input } });
      if (!data) return;
      insertComment(postId, data.createComment.comment.id);
      attempt.current = { text: '', author: '', key: '' };
      // What was written meanwhile stays.
      setText((now) => (now === text ? '' : now));
    } catch {
      // `error` has it.
    }
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => void send(event)}
      onKeyDown={(event) => sendOnShortcut(event)}
    >
      <label className="unseen" htmlFor="comment-text">
        Your comment
      </label>
      <textarea
        id="comment-text"
        rows={3}
        placeholder="Add to the conversation"
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      <div className="composer-foot">
        <label className="unseen" htmlFor="comment-author">
          Your name
        </label>
        <input
          id="comment-author"
          value={author}
          maxLength={100}
          placeholder="Your name"
          autoComplete="nickname"
          onChange={(event) => setAuthor(event.target.value)}
        />
        <button type="submit" className="button" disabled={loading || text.trim() === ''}>
          {loading ? 'Sending…' : 'Comment'}
        </button>
      </div>
      {error && (
        <p className="form-error" role="alert">
          {wordsFor(error)} Your comment is still here.
        </p>
      )}
    </form>
  );
}
