// The moderators' page: what waits for a decision, live, and what was hidden.

import './moderation.css';

import { useRef, useState } from 'react';

import { useSession } from '../../signIn/useSession';
import { When } from '../Ago';
import { focusOn, isFocusLost } from '../focus';
import { client } from '../graph/client';
import {
  BlockAuthorDocument,
  HideCommentDocument,
  type ModerationList,
  RestoreCommentDocument,
  UnblockAuthorDocument,
} from '../graph/generated';
import { Link } from '../Link';
import { CommentsSkeleton, Failure } from '../Notices';
import { useFocusBack } from '../useFocusBack';
import { hasCode, wordsFor } from '../words';
import { type Entry, type Queue, useQueue } from './queue';
import { ReasonForm } from './ReasonForm';

const LISTS = [
  ['OPEN', 'Waiting'],
  ['HIDDEN', 'Hidden'],
] as const;

export function Moderation() {
  const session = useSession();
  const [list, setList] = useState<ModerationList>('OPEN');

  return (
    <article className="post moderation">
      <h1 id="moderation-title" tabIndex={-1}>
        Moderation
      </h1>
      {session?.moderator ? (
        <>
          <div className="lists" role="group" aria-label="Comments">
            {LISTS.map(([each, words]) => (
              <button
                key={each}
                type="button"
                className="button quiet"
                aria-pressed={list === each}
                onClick={() => setList(each)}
              >
                {words}
              </button>
            ))}
          </div>
          {/* Of another moderator, nothing of the first one's page stays. */}
          <Entries key={`${session.ids[0]} ${list}`} list={list} />
        </>
      ) : (
        <p className="hint">This page is for moderators. Sign in as one.</p>
      )}
    </article>
  );
}

function Entries({ list }: { list: ModerationList }) {
  const queue = useQueue(list);
  const [isLoading, setLoading] = useState(false);
  const [olderError, setOlderError] = useState<unknown>();
  const { entries, error, readOlder, retry } = queue;
  if (!entries)
    return error === undefined ? (
      <CommentsSkeleton />
    ) : (
      <Failure what="The comments" error={error} onRetry={retry} byItself />
    );

  const loadOlder = () => {
    if (isLoading || !readOlder) return;
    setLoading(true);
    setOlderError(undefined);
    readOlder()
      .catch(setOlderError)
      .finally(() => setLoading(false));
  };
  return (
    <>
      <p className="unseen" role="status">
        {entries.length === 1 ? '1 comment' : `${entries.length} comments`}
      </p>
      {entries.length === 0 && (
        <p className="empty">{list === 'OPEN' ? 'Nothing waits for you.' : 'Nothing is hidden.'}</p>
      )}
      <ol className="comment-list">
        {entries.map((entry) => (
          <QueueItem key={entry.commentId} entry={entry} queue={queue} />
        ))}
      </ol>
      {olderError !== undefined && <Failure what="Older comments" error={olderError} onRetry={loadOlder} />}
      {olderError === undefined && readOlder && (
        <button type="button" className="more" aria-disabled={isLoading} onClick={loadOlder}>
          {isLoading ? 'Loading…' : 'Older comments'}
        </button>
      )}
    </>
  );
}

function QueueItem({ entry, queue }: { entry: Entry; queue: Queue }) {
  const [asking, setAsking] = useState<'hide' | 'block'>();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const item = useRef<HTMLLIElement>(null);
  const hideButton = useFocusBack(asking === 'hide');
  const blockButton = useFocusBack(asking === 'block');
  const { commentId, comment, status } = entry;
  const authorId = comment?.authorId ?? undefined;

  /** A comment that is gone needs no decision any more. */
  const decide = async (decision: () => Promise<unknown>) => {
    const place = item.current;
    // The subscription may take the comment out before the answer comes.
    const { nextElementSibling: next, previousElementSibling: previous } = place ?? {};
    try {
      await decision();
    } catch (failure) {
      if (!hasCode(failure, 'NOT_FOUND')) throw failure;
    }
    const hadFocus = isFocusLost() || place?.contains(document.activeElement);
    queue.forget(commentId);
    const after = [next, previous].find((each) => each?.isConnected);
    if (hadFocus) focusOn(after ?? document.getElementById('moderation-title'));
  };
  const hide = (reason: string) =>
    decide(() =>
      client.mutate({ mutation: HideCommentDocument, variables: { input: { id: commentId, reason } } }),
    );
  // The text that is shown here, and no other.
  const ifUpdatedAt = comment?.updatedAt ?? null;
  const restore = () =>
    decide(() =>
      client.mutate({
        mutation: RestoreCommentDocument,
        variables: { input: { id: commentId, ifUpdatedAt } },
      }),
    );
  const block = async (reason: string) => {
    if (authorId === undefined) return;
    await client.mutate({ mutation: BlockAuthorDocument, variables: { input: { authorId, reason } } });
    queue.noteBlock(authorId, true);
  };
  const unblock = async () => {
    if (authorId === undefined) return;
    await client.mutate({ mutation: UnblockAuthorDocument, variables: { input: { authorId } } });
    queue.noteBlock(authorId, false);
  };
  const act = (action: () => Promise<unknown>) => {
    if (busy) return;
    setBusy(true);
    setError(undefined);
    action()
      .catch(setError)
      .finally(() => setBusy(false));
  };

  return (
    <li
      className="comment queued"
      ref={item}
      tabIndex={-1}
      aria-label={`Comment by ${comment?.author ?? 'somebody'}`}
    >
      <div className="comment-body">
        <div className="meta">
          <span className="name">{comment?.author}</span>
          {entry.authorIsBlocked && <span className="state">blocked</span>}
          <When time={entry.since} />
          <span className="state">{stateOf(entry)}</span>
        </div>
        <p className="text">{comment?.text}</p>
        {comment && (
          <p className="hint">
            on <Link to={{ at: 'post', id: comment.post.id }}>{comment.post.title}</Link>
          </p>
        )}
        {entry.reportReasons.length > 0 && (
          <ul className="reasons" aria-label="Reports">
            {entry.reportReasons.map((reason, index) => (
              <li key={index}>{reason}</li>
            ))}
          </ul>
        )}
        {entry.reason != null && (
          <p className="hint">
            {entry.moderator}: {entry.reason}
          </p>
        )}
        {asking === 'hide' && (
          <ReasonForm label="Why it is hidden" act="Hide" onAct={hide} onDone={() => setAsking(undefined)} />
        )}
        {asking === 'block' && (
          <ReasonForm
            label={`Why ${comment?.author ?? 'the author'} is blocked`}
            act="Block"
            onAct={block}
            onDone={() => setAsking(undefined)}
          />
        )}
        {asking === undefined && (
          <div className="form-actions">
            <button type="button" className="button" aria-disabled={busy} onClick={() => act(restore)}>
              {status === 'VISIBLE' ? 'Keep' : 'Show'}
            </button>
            {status !== 'HIDDEN' && (
              <button
                type="button"
                className="button quiet"
                ref={hideButton}
                onClick={() => setAsking('hide')}
              >
                Hide
              </button>
            )}
            {authorId !== undefined &&
              (entry.authorIsBlocked ? (
                <button type="button" className="button quiet" onClick={() => act(unblock)}>
                  Unblock the author
                </button>
              ) : (
                <button
                  type="button"
                  className="button quiet"
                  ref={blockButton}
                  onClick={() => setAsking('block')}
                >
                  Block the author
                </button>
              ))}
          </div>
        )}
        {error !== undefined && (
          <p className="form-error" role="alert">
            {wordsFor(error)}
          </p>
        )}
      </div>
    </li>
  );
}

function stateOf({ status, reportCount }: Entry): string {
  const reports = reportCount === 1 ? 'reported once' : `reported ${reportCount} times`;
  if (status === 'HIDDEN') return 'hidden';
  if (status === 'HELD') return reportCount > 0 ? `held, ${reports}` : 'held';
  return reports;
}
