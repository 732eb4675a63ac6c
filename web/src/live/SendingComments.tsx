// The comments that are on their way, above those that are there, and the replies below their parents.

import { useSyncExternalStore } from 'react';

import { Avatar } from './CommentItem';
import type { CommentPartsFragment } from './graph/generated';
import {
  discard,
  isOfNow,
  LeftBehind,
  type Outgoing,
  outgoing,
  onOutgoing,
  sendAgain,
  takeOut,
} from './outbox';
import { Prose } from './prose/Prose';
import { isAfter } from './seen';
import { mayPass, wordsFor } from './words';

interface SendingCommentsProps {
  shown: readonly Outgoing[];
  /** Takes a text back to where it can be changed. */
  onHandOver: (text: string) => void;
}

/** What is on its way to a post, newest first. `comments` are in its list: what has arrived there is not shown twice. */
export function useSending(postId: string, comments: readonly CommentPartsFragment[]): Outgoing[] {
  const all = useSyncExternalStore(onOutgoing, outgoing);
  return missingIn(
    comments,
    all.filter((entry) => entry.postId === postId),
  );
}

export function SendingComments({ shown, onHandOver }: SendingCommentsProps) {
  if (shown.length === 0) return null;
  return (
    <ol className="comment-list sending" aria-label="Being sent">
      {shown.map((entry) => (
        <li key={entry.key} data-state={entry.state}>
          <Avatar name={entry.shownAs} />
          <div>
            <div className="meta">
              <span className="name">{entry.shownAs}</span>
              {/* What is wrong is told at once; that all is well, in passing. */}
              <span role={entry.state === 'failed' ? 'alert' : 'status'} className="sending-state">
                {stateOf(entry)}
              </span>
            </div>
            <Prose className="text" text={entry.text} />
            {entry.state !== 'queued' && <Choices entry={entry} onHandOver={onHandOver} />}
          </div>
        </li>
      ))}
    </ol>
  );
}

function Choices({ entry, onHandOver }: { entry: Outgoing; onHandOver: (text: string) => void }) {
  const kind = entry.parentId === undefined ? 'comment' : 'reply';
  const what = (
    <span className="unseen">
      {' '}
      the {kind} “{entry.text.slice(0, 40)}”
    </span>
  );
  const mayTry = entry.state === 'failed' && isOfNow(entry) && mayPass(entry.error);
  return (
    <div className="form-actions">
      {mayTry && (
        <button type="button" className="text" onClick={() => sendAgain(entry.key)}>
          Try again<span className="unseen"> to send</span>
          {what}
        </button>
      )}
      <button
        type="button"
        className="text"
        onClick={() => {
          takeOut(entry);
          onHandOver(entry.text);
        }}
      >
        Edit{what}
      </button>
      <button type="button" className="text" onClick={() => discard(entry.key)}>
        Discard{what}
      </button>
    </div>
  );
}

function stateOf({ state, error }: Outgoing): string {
  switch (state) {
    case 'queued':
      return 'Sending…';
    case 'waiting':
      return `Not sent yet. ${wordsFor(error)} Trying again by itself.`;
    case 'offline':
      return 'Not sent yet: your device is offline. It goes out by itself when the network is back.';
    case 'failed':
      return error instanceof LeftBehind
        ? 'Not sent: the page was closed before.'
        : `Not sent. ${wordsFor(error)}`;
  }
}

/** Newest first, without those that have arrived: an event may be quicker than the answer. */
function missingIn(comments: readonly CommentPartsFragment[], entries: readonly Outgoing[]): Outgoing[] {
  const arrived = new Set<string>();
  const missing = entries.filter((entry) => {
    if (entry.state === 'failed') return true;
    const comment = comments.find(
      (each) =>
        each.text === entry.text &&
        each.author === entry.shownAs &&
        (each.parentId ?? undefined) === entry.parentId &&
        isAfter(each, entry.after) &&
        !arrived.has(each.id),
    );
    if (comment) arrived.add(comment.id);
    return comment === undefined;
  });
  return missing.reverse();
}
