// One post with its comments.

import { useMutation } from '@apollo/client/react';
import { useCallback, useEffect, useRef, useState } from 'react';
import { flushSync } from 'react-dom';

import { Ago } from './Ago';
import { Comments } from './Comments';
import { Confirm } from './Confirm';
import { followPost } from './graph/follow';
import {
  DeletePostDocument,
  PostPageDocument,
  type PostPageQuery,
  UpdatePostDocument,
} from './graph/generated';
import { forgetPost } from './graph/lists';
import { COMMENTS_PAGE } from './graph/pageSizes';
import { readOlderComments, readPostPage } from './graph/read';
import { focusOn } from './focus';
import { Link } from './Link';
import { Failure, PostSkeleton } from './Notices';
import { PostForm } from './PostForm';
import { navigate } from './route';
import { useOlder } from './useOlder';
import { useReading } from './useReading';

export type OpenPost = NonNullable<PostPageQuery['post']>;

interface PostPageProps {
  id: string;
  /** The reader asked for this post: its heading gets the focus. */
  chosen: boolean;
  /** Hears that the post is not there, or not any more. */
  onGone?: () => void;
}

export function PostPage({ id, chosen, onGone }: PostPageProps) {
  const read = useCallback(() => readPostPage(id), [id]);
  const variables = { id, first: COMMENTS_PAGE };
  const { data, error, retry } = useReading(PostPageDocument, variables, `post ${id}`, read);
  const post = data?.post;
  const older = useOlder(() => readOlderComments(id, post?.comments.pageInfo.endCursor ?? null));
  const isGone = post === null;
  useEffect(() => {
    if (isGone) onGone?.();
  }, [isGone, onGone]);

  return (
    <article className="post">
      <Link to={{ at: 'list' }} className="back">
        ← All posts
      </Link>
      {post ? (
        <>
          <PostBody post={post} takesFocus={chosen} />
          <Comments post={post} loadingOlder={older.isLoading} error={older.error} onOlder={older.load} />
        </>
      ) : isGone ? (
        <p className="empty">
          This post is not here any more. <Link to={{ at: 'list' }}>See the others.</Link>
        </p>
      ) : error !== undefined ? (
        <Failure error={error} onRetry={retry} />
      ) : (
        <PostSkeleton />
      )}
    </article>
  );
}

function PostBody({ post, takesFocus }: { post: OpenPost; takesFocus: boolean }) {
  const [editing, setEditing] = useState(false);
  const [update, updating] = useMutation(UpdatePostDocument);
  const [remove, removing] = useMutation(DeletePostDocument);
  const heading = useRef<HTMLHeadingElement>(null);

  useEffect(() => followPost(post.id), [post.id]);
  useEffect(() => {
    document.title = `${post.title} · Rejoinder`;
    return () => {
      document.title = 'Rejoinder';
    };
  }, [post.title]);
  useEffect(() => {
    if (takesFocus) heading.current?.focus();
  }, [takesFocus]);

  if (editing) {
    return (
      <PostForm
        initial={post}
        saveLabel="Save"
        saving={updating.loading}
        error={updating.error}
        onCancel={() => setEditing(false)}
        onSave={async (title, content) => {
          await update({ variables: { input: { id: post.id, title, content } } });
          setEditing(false);
        }}
      />
    );
  }

  return (
    <>
      <h1 ref={heading} tabIndex={-1}>
        {post.title}
      </h1>
      <div className="meta">
        <span className="name">{post.author}</span>
        <Ago time={post.createdAt} />
        {post.updatedAt !== post.createdAt && <span>edited</span>}
        <span className="actions">
          <button type="button" className="text" onClick={() => setEditing(true)}>
            Edit<span className="unseen"> the post</span>
          </button>
          <Confirm
            what="the post"
            busy={removing.loading}
            onConfirm={async () => {
              await remove({ variables: { input: { id: post.id } } });
              forgetPost(post.id);
              // Drawn at once: on a phone the list is hidden until then, and cannot take the focus.
              flushSync(() => navigate({ at: 'list' }));
              focusOn(document.getElementById('posts-title'));
            }}
          />
        </span>
      </div>
      <div className="content">
        {post.content.split(/\n{2,}/).map((paragraph, index) => (
          <p key={index}>{paragraph}</p>
        ))}
      </div>
    </>
  );
}
