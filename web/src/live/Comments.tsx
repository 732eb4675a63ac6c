// A post's comments: written at the top, newest first, live. The post does not wait for them.

import { Fragment, useCallback, useEffect, useRef, useState } from 'react';

import { CommentItem } from './CommentItem';
import { Composer } from './Composer';
import { followComments } from './graph/follow';
import {
  type CommentPartsFragment,
  type OpenPostFragment,
  PostCommentsDocument,
  type PostCommentsQuery,
} from './graph/generated';
import { COMMENTS_PAGE } from './graph/pageSizes';
import { commentsName, readComments, readOlderComments } from './graph/read';
import { Newest } from './Newest';
import { NewLine } from './NewLine';
import { CommentsSkeleton, Failure, Slow } from './Notices';
import { placeOfNow, returnTo } from './place';
import { isAfter, type Mark } from './seen';
import type { Outgoing } from './outbox';
import { SendingComments, useSending } from './SendingComments';
import { SortControl } from './SortControl';
import { threads } from './threads';
import { useOlder } from './useOlder';
import { useOwnReactions } from './useOwnReactions';
import { useReading } from './useReading';
import { useCommentOrder, useCommentsAfter } from './useRoute';
import { useTarget } from './useTarget';
import { newIn, useUnseen } from './useUnseen';
import { useVisible } from './useVisible';
import { areSame, withGone } from './withGone';

/** The comments that arrived while the page was open: how many, and the last of them by their ids. */
interface Arrived {
  count: number;
  recent: ReadonlySet<string>;
}

const NONE: Arrived = { count: 0, recent: new Set() };
/** More are not told apart from the others: nobody saw them arrive one by one. */
const RECENT_MAX = 50;

export function Comments({ post }: { post: OpenPostFragment }) {
  const [arrived, setArrived] = useState(NONE);
  const [handed, setHanded] = useState<string>();
  const [isHeld, setHeld] = useState(false);
  /** The reader's own last comment, while it is not among those that are loaded. */
  const [elsewhere, setElsewhere] = useState<string>();
  const head = useRef<HTMLDivElement>(null);
  const headVisible = useVisible(head);
  const order = useCommentOrder();
  const after = useCommentsAfter(post.id);
  const read = useCallback(() => readComments(post.id, order), [post.id, order]);
  const variables = { id: post.id, first: COMMENTS_PAGE, orderBy: order };
  const { data, error, isSlow, retry } = useReading(
    PostCommentsDocument,
    variables,
    commentsName(post.id, order, after),
    read,
  );
  const discussion = data?.post;

  const there = discussion?.comments.edges.map((edge) => edge.node as CommentPartsFragment);
  if (elsewhere !== undefined && there?.some(({ id }) => id === elsewhere)) setElsewhere(undefined);
  const hasOlder = discussion?.comments.pageInfo.hasNextPage ?? false;
  // An older part does not tell what is new.
  const unseen = useUnseen(post.id, after === undefined ? there : undefined, hasOlder, order, headVisible);
  const sending = useSending(post.id, there ?? []);
  const isBelow = ({ parentId }: Outgoing) => there?.some(({ id }) => id === parentId) ?? false;
  const onArrived = useCallback((id: string) => setArrived((before) => withOneMore(before, id)), []);

  return (
    <section className="comments" aria-labelledby="comments-title">
      <div className="comments-head" ref={head}>
        <h2 id="comments-title" tabIndex={-1}>
          {post.commentCount === 0
            ? 'Comments'
            : post.commentCount === 1
              ? '1 comment'
              : `${post.commentCount.toLocaleString()} comments`}
        </h2>
        {post.commentCount > 1 && <SortControl />}
      </div>
      <Composer
        postId={post.id}
        handed={handed}
        onTaken={() => setHanded(undefined)}
        onHeld={setHeld}
        onElsewhere={setElsewhere}
      />
      {isHeld && (
        <p className="held" role="status">
          Your comment waits for a moderator. Nobody else sees it until then.
        </p>
      )}
      {elsewhere !== undefined && there && (
        <p className="held" role="status">
          Your comment is{' '}
          {after !== undefined
            ? 'among the newest'
            : order === 'OLDEST_FIRST'
              ? 'at the end'
              : 'further down'}
          . <a href={`#comment-${elsewhere}`}>Show it</a>
        </p>
      )}
      {unseen.count > 0 && !headVisible && (
        <button
          type="button"
          className="button arrivals"
          onClick={() => head.current?.scrollIntoView({ block: 'start' })}
        >
          ↑ {unseen.count === 1 ? '1 new comment' : `${unseen.count}${unseen.isMore ? '+' : ''} new comments`}
        </button>
      )}
      <p className="unseen" role="status">
        {arrived.count > 0 &&
          `${arrived.count} new ${arrived.count === 1 ? 'comment' : 'comments'} since you opened the post`}
      </p>
      {after !== undefined && <Newest of="comments" to={{ at: 'post', id: post.id }} />}
      <SendingComments shown={sending.filter((entry) => !isBelow(entry))} onHandOver={setHanded} />
      {discussion ? (
        <Discussion
          key={`${order} ${after ?? ''}`}
          discussion={discussion}
          after={after}
          recent={arrived.recent}
          sending={sending.filter(isBelow)}
          line={unseen.line}
          {...{ onArrived }}
          onHeld={() => setHeld(true)}
          onHandOver={setHanded}
        />
      ) : error !== undefined ? (
        <Failure what="The comments" error={error} onRetry={retry} byItself />
      ) : (
        <>
          <CommentsSkeleton />
          {isSlow && <Slow what="The comments" />}
        </>
      )}
    </section>
  );
}

interface DiscussionProps {
  discussion: NonNullable<PostCommentsQuery['post']>;
  /** The cursor after which the list begins; without one, with the newest. */
  after: string | undefined;
  recent: ReadonlySet<string>;
  /** The replies that are on their way to a comment of the list, newest first. */
  sending: readonly Outgoing[];
  /** The last comment that was seen before those that are new. */
  line: Mark | undefined;
  onArrived: (commentId: string) => void;
  onHeld: () => void;
  onHandOver: (text: string) => void;
}

function Discussion(props: DiscussionProps) {
  const { discussion, after, recent, sending, line, onArrived, onHeld, onHandOver } = props;
  const { id } = discussion;
  const { hasNextPage, endCursor } = discussion.comments.pageInfo;
  const list = useRef<HTMLOListElement>(null);
  const older = useOlder(list, () => readOlderComments(id, endCursor ?? null));
  const { target, isMissing } = useTarget(discussion);

  // Where to follow from: as it was first read. The subscription itself knows where it goes on.
  const [cursor] = useState(discussion.commentChangesCursor);
  const [ended, setEnded] = useState<unknown>();
  const isFollowed = ended === undefined;
  useEffect(
    () => (isFollowed ? followComments(id, cursor, onArrived, setEnded) : undefined),
    [id, cursor, onArrived, isFollowed],
  );

  useEffect(() => {
    const place = placeOfNow();
    if (place) returnTo(place);
  }, []);

  useOwnReactions(id, useCommentOrder(), after, discussion.comments.edges.length);

  // A comment that is being edited, or replied to, stays when somebody else deletes it.
  const [written, setWritten] = useState<readonly CommentPartsFragment[]>([]);
  const onWriting = useCallback(
    (comment: CommentPartsFragment, isWriting: boolean) =>
      setWritten((before) => [
        ...before.filter((each) => each.id !== comment.id),
        ...(isWriting ? [comment] : []),
      ]),
    [],
  );
  const there = discussion.comments.edges.map((edge) => edge.node as CommentPartsFragment);
  const gone = written.filter((each) => there.every((comment) => comment.id !== each.id));
  const [before, setBefore] = useState<readonly string[]>([]);
  const comments = withGone(there, gone, before);
  if (!areSame(comments, before)) setBefore(comments.map((comment) => comment.id));

  const placed = threads(comments);
  const { lineAt, marked } = newIn(placed, line);

  return (
    <>
      {isMissing && (
        <p className="hint" role="status">
          The comment that this address points to is not here any more.
        </p>
      )}
      {!isFollowed && <Failure what="What is new" error={ended} onRetry={() => setEnded(undefined)} />}
      {comments.length === 0 && (
        <p className="empty">
          {after === undefined
            ? 'No comments yet. Yours could be the first.'
            : 'There are no older comments.'}
        </p>
      )}
      <ol className="comment-list" ref={list}>
        {placed.map(({ comment, isBelow }, index) => (
          <Fragment key={comment.id}>
            {index === lineAt && <NewLine isAbove={line !== undefined && !isAfter(comment, line)} />}
            <CommentItem
              comment={comment}
              isBelow={isBelow}
              postId={id}
              isNew={recent.has(comment.id)}
              isUnseen={marked.has(comment.id)}
              isTarget={comment.id === target}
              isGone={gone.includes(comment)}
              sending={repliesTo(comment, sending)}
              onWriting={onWriting}
              onHeld={onHeld}
              onHandOver={onHandOver}
            />
          </Fragment>
        ))}
      </ol>
      {older.error !== undefined && (
        <Failure what="Older comments" error={older.error} onRetry={older.load} />
      )}
      {older.error === undefined && hasNextPage && (
        <button type="button" className="more" aria-disabled={older.isLoading} onClick={older.load}>
          {older.isLoading ? 'Loading…' : 'Older comments'}
        </button>
      )}
    </>
  );
}

/** One and the same where there are none, as most often: nothing is drawn again. */
const NO_REPLIES: readonly Outgoing[] = [];

/** In the order in which they will stand. */
function repliesTo({ id }: CommentPartsFragment, sending: readonly Outgoing[]): readonly Outgoing[] {
  const replies = sending.filter(({ parentId }) => parentId === id);
  return replies.length === 0 ? NO_REPLIES : replies.reverse();
}

function withOneMore({ count, recent }: Arrived, id: string): Arrived {
  return { count: count + 1, recent: new Set([...recent, id].slice(-RECENT_MAX)) };
}
