// What stands in for content: while it loads, and when it cannot be had.

import { isTriedAgain, mayPass, wordsFor } from './words';

interface FailureProps {
  /** What is missing, as the beginning of a sentence. */
  what: string;
  error: unknown;
  onRetry: () => void;
  /** Another try comes without the reader. */
  byItself?: boolean;
}

export function Failure({ what, error, onRetry, byItself = false }: FailureProps) {
  const again = mayPass(error);
  return (
    <div className="failure" role="alert">
      <p>
        {what} cannot be shown. {wordsFor(error)}
        {byItself && isTriedAgain(error) && ' Trying again by itself.'}
      </p>
      {again && (
        <button type="button" className="button quiet" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** Said when content takes its time, below what stands in for it: nothing moves. */
export function Slow({ what }: { what: string }) {
  return <p className="slow">{what} take longer than usual. They appear here as soon as they are there.</p>;
}

export function ListSkeleton() {
  return (
    <div className="skeleton" role="status" aria-label="Loading posts">
      {[0, 1, 2, 3].map((row) => (
        <div key={row} className="skeleton-row">
          <i />
          <i />
          <i />
        </div>
      ))}
    </div>
  );
}

export function PostSkeleton() {
  return (
    <div className="skeleton skeleton-post" role="status" aria-label="Loading the post">
      <i />
      <i />
      <i />
      <i />
      <i />
      <i />
    </div>
  );
}

export function CommentsSkeleton() {
  return (
    <div className="skeleton skeleton-comments" role="status" aria-label="Loading comments">
      {[0, 1, 2].map((row) => (
        <div key={row} className="skeleton-row">
          <i />
          <i />
        </div>
      ))}
    </div>
  );
}
