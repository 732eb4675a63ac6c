// One post with its comments.

import { useMutation } from '@apollo/client/react';
import { useCallback, useEffect, useRef, useState } from 'react';

import { When } from './Ago';
import { Comments } from './Comments';
import { Confirm } from './Confirm';
import { readDraft, textsAbout } from './drafts';
import { isFocusLost, takeFocus } from './focus';
import { followPost } from './graph/follow';
import { DeletePostDocument, type OpenPostFragment, PostDocument } from './graph/generated';
import { forgetPost } from './graph/lists';
import { readPost } from './graph/read';
import { Link } from './Link';
import { useMayChange } from './mayChange';
import { NotFound } from './NotFound';
import { Failure, PostSkeleton, Slow } from './Notices';
import { placeOfNow } from './place';
import { PostEditor } from './PostEditor';
import { Prose } from './prose/Prose';
import { ReadOn } from './ReadOn';
import { entitle } from './title';
import { Unsent } from './Unsent';
import { useReading } from './useReading';
import { useUndo } from './useUndo';
import { useWhole } from './useWhole';
import { hasCode } from './words';

interface PostPageProps {
  id: string;
  /** The reader asked for this post: its heading gets the focus. */
  chosen: boolean;
  /** Hears that the post, which the page opened by itself, is not there any more. */
  onGone?: (() => void) | undefined;
}

export function PostPage({ id, chosen, onGone }: PostPageProps) {
  const read = useCallback(() => readPost(id), [id]);
  const { data, error, isSlow, retry } = useReading(PostDocument, { id }, `post ${id}`, read);
  const post = data?.post as OpenPostFragment | null | undefined;
  const isGone = post === null;
  const [wasThere, setWasThere] = useState(false);
  if (post && !wasThere) setWasThere(true);
  useEffect(() => {
    if (isGone && onGone && textsAbout(id).length === 0) onGone();
  }, [id, isGone, onGone]);

  return (
    <article className="post">
      <Link to={{ at: 'list' }} className="back">
        ← All posts
      </Link>
      {post ? (
        <>
          <PostBody post={post} takesFocus={chosen} />
          <Comments post={post} />
        </>
      ) : isGone ? (
        <>
          <NotFound wasThere={wasThere} />
          <Unsent postId={id} />
        </>
      ) : error !== undefined ? (
        <Failure what="The post" error={error} onRetry={retry} byItself />
      ) : (
        <>
          <PostSkeleton />
          {isSlow && <Slow what="The post and its comments" />}
        </>
      )}
    </article>
  );
}

function PostBody({ post, takesFocus }: { post: OpenPostFragment; takesFocus: boolean }) {
  const [editing, setEditing] = useState(false);
  const [remove] = useMutation(DeletePostDocument);
  const heading = useRef<HTMLHeadingElement>(null);
  const editButton = useRef<HTMLButtonElement>(null);
  const wasEditing = useRef(false);
  const readOn = useRef<HTMLAnchorElement>(null);
  const whole = useWhole(post, takesFocus, readOn);
  const mayChange = useMayChange(post);
  // Nobody edits a part of a text: the rest of it would be lost.
  const isEditing = editing && !whole.isCut;
  const edit = async () => {
    setEditing(true);
    if (whole.isCut && !(await whole.load())) setEditing(false);
  };
  const deletion = useUndo(async () => {
    try {
      await remove({
        variables: { input: { id: post.id } },
        context: { fetchOptions: { keepalive: true } },
      });
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) throw error;
    }
    forgetPost(post.id);
  });

  useEffect(() => followPost(post.id), [post.id]);
  useEffect(() => entitle(post.title), [post.title]);
  useEffect(() => {
    if (!takesFocus) return;
    heading.current?.focus({ preventScroll: true });
    if (!placeOfNow()) scrollTo({ top: 0, behavior: 'instant' });
  }, [takesFocus]);
  // The focus goes back to where the editing began, unless the reader has gone on meanwhile.
  useEffect(() => {
    if (wasEditing.current && !isEditing && isFocusLost()) editButton.current?.focus();
    wasEditing.current = isEditing;
  }, [isEditing]);

  if (isEditing) return <PostEditor post={post} onDone={() => setEditing(false)} />;
  if (deletion.state === 'waiting' || deletion.state === 'acting') {
    return (
      <div className="undo" role="status">
        <p>
          “{post.title}” and its comments are deleted.
          <button type="button" className="text" ref={takeFocus} onClick={deletion.undo}>
            Undo
          </button>
          <button type="button" className="text" onClick={deletion.act}>
            Delete now
          </button>
        </p>
      </div>
    );
  }

  return (
    <>
      <h1 ref={heading} tabIndex={-1}>
        {post.title}
      </h1>
      <div className="meta">
        <span className="name">{post.author}</span>
        <When time={post.createdAt} />
        {post.updatedAt !== post.createdAt && <span>edited</span>}
        <span className="actions">
          {mayChange && (
            <button type="button" className="text" ref={editButton} onClick={() => void edit()}>
              {readDraft(`post.${post.id}`) ? 'Continue editing' : 'Edit'}
              <span className="unseen"> the post</span>
            </button>
          )}
          {mayChange && (
            <Confirm what="the post" failed={deletion.state === 'failed'} onConfirm={deletion.start} />
          )}
        </span>
      </div>
      <Prose className="content" text={post.content} />
      {whole.isCut && <ReadOn postId={post.id} whole={whole} link={readOn} />}
    </>
  );
}
